//! Datagrams: one question at a time, or as many as arrive.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::MESSAGE;
use super::client::{Load, Phases, nanos};
use super::record::{Recorded, new_histogram};

/// How long an answer may take; what has not come by then is lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many sockets questions take turns on.
const OPEN: usize = 4;
/// Datagrams of a burst; the server answers the last of each.
const BURST: u64 = 64;
/// Bursts on their way at once. More would overflow queues, and it would be counted what is lost, not what arrives.
const WINDOW: u64 = 4;
/// Room for all of them at the server, whatever the kernel's default is.
pub(super) const BUFFER: usize = 8 << 20;

/// Sockets that stay open.
pub(super) struct Open {
    sockets: Vec<UdpSocket>,
    next: usize,
    number: u64,
}

impl Open {
    pub(super) fn new(load: &Load) -> io::Result<Self> {
        let sockets: io::Result<_> = load.targets(OPEN).map(socket).collect();
        Ok(Self { sockets: sockets?, next: 0, number: 0 })
    }

    /// Asks on the next one. Answers to earlier questions, which were given up, are passed over.
    pub(super) fn ask(&mut self) -> io::Result<()> {
        self.next = (self.next + 1) % self.sockets.len();
        self.number += 1;
        let socket = &self.sockets[self.next];
        let mut question = [b'E'; MESSAGE];
        question[1..9].copy_from_slice(&self.number.to_be_bytes());
        socket.send(&question)?;
        let mut answer = [0; MESSAGE];
        loop {
            socket.recv(&mut answer)?;
            if answer[1..9] == question[1..9] {
                return Ok(());
            }
        }
    }
}

fn socket(to: SocketAddr) -> io::Result<UdpSocket> {
    let any = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    setsockopt(&socket, sockopt::SndBuf, &BUFFER)?;
    Ok(socket)
}

/// Sends bursts, a few at a time on their way, and counts those that were answered.
pub(super) fn flood(load: &Load, size: usize, phases: &mut Phases) -> io::Result<Recorded> {
    let mut sender = Sender::new(load, size)?;
    let warm = Instant::now();
    while warm.elapsed() < phases.warmup {
        sender.step()?;
    }
    sender.arrived = 0;
    sender.lost = 0;
    sender.times.reset();
    let before = phases.cpu();
    let start = Instant::now();
    while start.elapsed() < phases.duration {
        sender.step()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu_us = phases.cpu() - before;
    let mut recorded =
        Recorded { seconds, cpu_us, ops: sender.arrived, errors: sender.lost, ..Recorded::default() };
    recorded.set_times(&sender.times);
    Ok(recorded)
}

struct Sender {
    socket: UdpSocket,
    payload: Vec<u8>,
    /// When each burst that is on its way was begun; the first has the number `answered`.
    begun: std::collections::VecDeque<Instant>,
    answered: u64,
    arrived: u64,
    lost: u64,
    times: hdrhistogram::Histogram<u64>,
}

impl Sender {
    fn new(load: &Load, size: usize) -> io::Result<Self> {
        let to = load.targets(1).next().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            socket: socket(to)?,
            payload: vec![b'D'; size],
            begun: std::collections::VecDeque::new(),
            answered: 0,
            arrived: 0,
            lost: 0,
            times: new_histogram(),
        })
    }

    /// Sends a burst if the window has room, and otherwise waits for an answer.
    fn step(&mut self) -> io::Result<()> {
        if (self.begun.len() as u64) < WINDOW {
            let number = self.answered + self.begun.len() as u64;
            self.begun.push_back(Instant::now());
            self.payload[1..9].copy_from_slice(&number.to_be_bytes());
            self.payload[0] = b'D';
            for _ in 1..BURST {
                self.socket.send(&self.payload)?;
            }
            self.payload[0] = b'A';
            self.socket.send(&self.payload)?;
            return Ok(());
        }
        let mut answer = [0; 9];
        match self.socket.recv(&mut answer) {
            Ok(_) => {
                let mut number = [0; 8];
                number.copy_from_slice(&answer[1..]);
                self.answer(u64::from_be_bytes(number));
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                // All that is on its way is given up.
                self.lost += BURST * self.begun.len() as u64;
                self.answered += self.begun.len() as u64;
                self.begun.clear();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The answer to a burst: it has arrived, and those before it that were not answered are lost.
    fn answer(&mut self, number: u64) {
        while self.answered <= number {
            let Some(begun) = self.begun.pop_front() else { return };
            if self.answered == number {
                self.arrived += BURST;
                // The time of one datagram, so that rows are comparable.
                let nanos = nanos(begun.elapsed()) / BURST;
                self.times.saturating_record_n(nanos, BURST);
            } else {
                self.lost += BURST;
            }
            self.answered += 1;
        }
    }
}
