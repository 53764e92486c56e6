//! One block of load: warm up, count, print.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::cpu::Meter;
use super::pace::Pace;
use super::record::{Recorded, new_histogram};
use super::{Block, Workload, datagrams, http, streams, tcp};

/// More failures than this in a row end a block: there is nothing to measure.
const HOPELESS: u64 = 100;

/// A client: where its operations go, and what came of them.
#[derive(Debug)]
pub struct Load {
    to: Vec<SocketAddr>,
    random: SmallRng,
}

impl Load {
    /// Where the next connection goes: equally likely to each target.
    pub(super) fn target(&mut self) -> SocketAddr {
        self.to[self.random.random_range(0..self.to.len())]
    }

    /// The targets in turn, so many.
    pub(super) fn targets(&self, count: usize) -> impl Iterator<Item = SocketAddr> {
        self.to.iter().copied().cycle().take(count)
    }
}

/// Runs the block that the arguments describe.
///
/// # Errors
/// The CPU or priority cannot be had, or nothing answers.
pub fn run(block: &Block) -> io::Result<Recorded> {
    settle(block.cpu, block.nice)?;
    let mut load = Load { to: block.to.clone(), random: SmallRng::from_os_rng() };
    let mut phases = Phases::new(block);
    match block.workload {
        Workload::Connect => phases.each(|| tcp::connect(load.target())),
        Workload::Crr => phases.each(|| tcp::connect_and_ask(load.target())),
        Workload::Rr => {
            let mut open = tcp::Open::new(&load)?;
            phases.each(|| open.ask())
        }
        Workload::UdpRr => {
            let mut open = datagrams::Open::new(&load)?;
            phases.each(|| open.ask())
        }
        Workload::UdpPps64 => datagrams::flood(&load, 64, &mut phases),
        Workload::UdpPps1400 => datagrams::flood(&load, 1400, &mut phases),
        Workload::TcpStream => streams::run(&load, 1, &mut phases),
        Workload::TcpStream8 => streams::run(&load, 8, &mut phases),
        Workload::Http => http::run(&load, &mut phases),
    }
}

/// Takes the calling thread, and all that it starts, to a CPU and a priority.
///
/// # Errors
/// There is no such CPU; a higher priority needs root.
pub(super) fn settle(cpu: Option<usize>, nice: Option<i32>) -> io::Result<()> {
    if let Some(cpu) = cpu {
        let mut set = CpuSet::new();
        set.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &set)?;
    }
    if let Some(nice) = nice {
        let own = std::process::id().to_string();
        let said =
            std::process::Command::new("renice").args(["-n", &nice.to_string(), "-p", &own]).output()?;
        if !said.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&said.stderr).trim().to_owned()));
        }
    }
    Ok(())
}

/// Warm-up and count, one after the other.
#[derive(Debug)]
pub(super) struct Phases {
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    rate: Option<f64>,
    meter: Meter,
}

impl Phases {
    fn new(block: &Block) -> Self {
        let meter = Meter::new(block.cpu_stat.as_deref());
        Self { warmup: block.warmup, duration: block.duration, rate: block.rate, meter }
    }

    /// Does one operation after the other.
    fn each(&mut self, mut operation: impl FnMut() -> io::Result<()>) -> io::Result<Recorded> {
        let warm = Instant::now();
        let mut failed = 0;
        while warm.elapsed() < self.warmup {
            match operation() {
                Ok(()) => failed = 0,
                Err(error) if failed >= HOPELESS => return Err(error),
                Err(_) => failed += 1,
            }
        }
        let mut recorded = Recorded::default();
        let mut times = new_histogram();
        let before = self.meter.read();
        let start = Instant::now();
        let mut pace = Pace::new(self.rate, start);
        let end = start + self.duration;
        let mut now = start;
        while now < end {
            let due = pace.wait();
            let done = operation();
            now = Instant::now();
            match done {
                Ok(()) => {
                    times.saturating_record(nanos(now - due));
                    recorded.ops += 1;
                }
                Err(error) => {
                    recorded.errors += 1;
                    recorded.error.get_or_insert_with(|| error.to_string());
                    if recorded.errors > HOPELESS && recorded.ops == 0 {
                        return Err(error);
                    }
                }
            }
        }
        recorded.seconds = start.elapsed().as_secs_f64();
        recorded.cpu_us = self.meter.read() - before;
        recorded.set_times(&times);
        Ok(recorded)
    }

    /// Counts while other threads work: `counted` tells how much they have done, in operations and failures, and gives
    /// their times up to now.
    pub(super) fn watch(&mut self, counted: impl Fn() -> (u64, u64, Histogram<u64>)) -> Recorded {
        std::thread::sleep(self.warmup);
        let (ops, errors, times) = counted();
        let before = self.meter.read();
        let start = Instant::now();
        std::thread::sleep(self.duration);
        let (ops_after, errors_after, mut times_after) = counted();
        let seconds = start.elapsed().as_secs_f64();
        let cpu_us = self.meter.read() - before;
        // What was there before is a part of what is there now.
        times_after.subtract(&times).ok();
        let mut recorded = Recorded { seconds, cpu_us, ..Recorded::default() };
        recorded.ops = ops_after - ops;
        recorded.errors = errors_after - errors;
        recorded.set_times(&times_after);
        recorded
    }

    /// CPU time until now, in microseconds.
    pub(super) fn cpu(&self) -> f64 {
        self.meter.read()
    }
}

/// A time in nanoseconds.
pub(super) fn nanos(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}
