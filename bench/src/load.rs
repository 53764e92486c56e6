//! The programs that make load: the client and the server of every peer.

mod client;
mod cpu;
mod datagrams;
mod http;
mod pace;
mod record;
mod server;
mod streams;
mod tcp;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

pub use client::{Load, run};
pub use record::Recorded;
pub use server::{Serve, serve};
pub use tcp::reset_on_close;

/// Bytes of a request and of its answer.
const MESSAGE: usize = 64;

/// What a client does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Workload {
    /// Open a TCP connection and close it
    Connect,
    /// A TCP connection for each request of 64 bytes and its answer
    Crr,
    /// Requests of 64 bytes and their answers, on TCP connections that stay open
    Rr,
    /// A web page for each TCP connection, 16 connections at once, by wrk
    Http,
    /// One TCP connection, as fast as it goes; an operation is a MiB
    TcpStream,
    /// Eight TCP connections, as fast as they go; an operation is a MiB
    #[value(name = "tcp-stream-8")]
    TcpStream8,
    /// Datagrams of 64 bytes and their answers
    UdpRr,
    /// Datagrams of 64 bytes, as fast as they arrive
    #[value(name = "udp-pps-64")]
    UdpPps64,
    /// Datagrams of 1400 bytes, as fast as they arrive
    #[value(name = "udp-pps-1400")]
    UdpPps1400,
}

impl Workload {
    /// Its name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it is judged by operations per second, and not by the time that one takes.
    #[must_use]
    pub fn is_throughput(self) -> bool {
        !matches!(self, Self::Connect | Self::Crr | Self::Rr | Self::UdpRr)
    }

    /// Whether it sends datagrams.
    #[must_use]
    pub fn is_udp(self) -> bool {
        matches!(self, Self::UdpRr | Self::UdpPps64 | Self::UdpPps1400)
    }
}

/// What of a block is set from outside.
#[derive(Args, Clone, Debug)]
pub struct Block {
    /// What to do
    #[arg(long, value_enum)]
    pub workload: Workload,
    /// Where to; several: a random one for each connection
    #[arg(long, value_delimiter = ',', required = true)]
    pub to: Vec<SocketAddr>,
    /// Before anything is counted, in milliseconds
    #[arg(long, value_parser = millis, default_value = "100")]
    pub warmup: Duration,
    /// What is counted, in milliseconds
    #[arg(long, value_parser = millis, default_value = "1000")]
    pub duration: Duration,
    /// Operations a second, at fixed times whether the last has ended or not; without: the next begins when one ends
    #[arg(long)]
    pub rate: Option<f64>,
    /// The CPU to run on
    #[arg(long)]
    pub cpu: Option<usize>,
    /// The scheduler's nice value
    #[arg(long, allow_negative_numbers = true)]
    pub nice: Option<i32>,
    /// Whose CPU time is counted, beside that of ksoftirqd: a file `cpu.stat` of a cgroup
    #[arg(long)]
    pub cpu_stat: Option<PathBuf>,
}

fn millis(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}
