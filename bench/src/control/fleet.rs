//! The processes of simulated agents, as the process that measures sees them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fairway_tests::lab::command;

use super::agents::{Order, Orders, Said};
use super::ledger::Received;
use super::world::World;
use crate::programming::process;

/// Agents of one process.
const OF_ONE: u32 = 1250;
/// Processes at least, so that they use more than one CPU.
const LEAST: u32 = 2;
/// For how long they may say nothing.
const SILENCE: Duration = Duration::from_secs(180);

/// All agents.
pub(super) struct Fleet {
    processes: Vec<Process>,
    said: Receiver<(usize, Said)>,
    agents: u32,
}

/// A process; it ends with its standard input.
struct Process {
    child: Child,
    orders: ChildStdin,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts it; what it says goes to `said`, with its index.
    fn start(world: &World, first: u32, agents: u32, said: (usize, Sender<(usize, Said)>)) -> Result<Self> {
        let orders = Orders { url: world.url(), first, agents, times: world.times() };
        let mut command = command(world.place(), "fairway-bench")?;
        command.args(["control", "--inside", &serde_json::to_string(&orders)?]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, lines) = (child.stdin.take(), child.stdout.take());
        let process = Self { child, orders: orders.context("it has a standard input")? };
        let lines = BufReader::new(lines.context("it has a standard output")?).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Said::Failed(line));
                if said.1.send((said.0, line)).is_err() {
                    return;
                }
            }
        });
        Ok(process)
    }

    fn order(&mut self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line).context("a process of agents has ended")
    }
}

impl Fleet {
    /// Starts so many agents.
    pub(super) fn start(world: &World, agents: u32) -> Result<Self> {
        let (sender, said) = channel();
        let count = agents.div_ceil(OF_ONE).max(LEAST).min(agents);
        let processes = (0..count).map(|index| {
            let [from, to] =
                [index, index + 1].map(|it| (u64::from(agents) * u64::from(it) / u64::from(count)) as u32);
            Process::start(world, from, to - from, (index as usize, sender.clone()))
        });
        let processes = processes.collect::<Result<_>>()?;
        Ok(Self { processes, said, agents })
    }

    /// One agent in a process of its own: in how many seconds and bytes it receives everything.
    pub(super) fn one(world: &World, number: u32) -> Result<(f64, u64)> {
        let (sender, said) = channel();
        let process = Process::start(world, number, 1, (0, sender))?;
        let fleet = Self { processes: vec![process], said, agents: 1 };
        match fleet.next()? {
            (_, Said::Joined { seconds, bytes, .. }) => Ok((seconds, bytes)),
            (_, other) => bail!("not expected: {other:?}"),
        }
    }

    /// How many agents there are.
    pub(super) fn agents(&self) -> u32 {
        self.agents
    }

    fn next(&self) -> Result<(usize, Said)> {
        match self.said.recv_timeout(SILENCE) {
            Ok((_, Said::Failed(reason))) => bail!("an agent failed: {reason}"),
            Ok(said) => Ok(said),
            Err(RecvTimeoutError::Timeout) => bail!("the agents say nothing for {SILENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the processes of the agents have ended"),
        }
    }

    /// Waits until all have received everything.
    pub(super) fn join(&self, progress: impl Fn(u32)) -> Result<()> {
        let mut joined = vec![0; self.processes.len()];
        while joined.iter().sum::<u32>() < self.agents {
            if let (index, Said::Joined { agents, .. }) = self.next()? {
                joined[index] = agents;
                progress(joined.iter().sum());
            }
        }
        Ok(())
    }

    /// Makes all of them forget what they have received.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(|process| process.order(&Order::Begin))?;
        for _ in 0..self.processes.len() {
            let (_, said) = self.next()?;
            anyhow::ensure!(matches!(said, Said::Begun), "not expected: {said:?}");
        }
        Ok(())
    }

    /// Waits until all have received these changes; what each process has received.
    pub(super) fn end(&mut self, first: u32, end: u32) -> Result<Vec<Received>> {
        self.processes.iter_mut().try_for_each(|process| process.order(&Order::End { first, end }))?;
        let received = (0..self.processes.len()).map(|_| match self.next()? {
            (_, Said::Received(received)) => Ok(received),
            (_, other) => bail!("not expected: {other:?}"),
        });
        received.collect()
    }

    /// CPU time of all processes.
    pub(super) fn cpu(&self) -> Result<Duration> {
        self.processes.iter().map(|process| process::cpu(process.child.id())).sum()
    }
}
