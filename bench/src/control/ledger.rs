//! When each change happened and when it was received: what the processes of a measurement share.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The longest time that is told from longer ones, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;

/// Nanoseconds of the clock that all processes of the machine share.
pub(super) fn now() -> io::Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(std::time::Duration::from(time).as_nanos() as u64)
}

/// When each change happened: a file of eight bytes each.
#[derive(Debug)]
pub(super) struct Times(File);

impl Times {
    /// A new file.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).create_new(true).open(path).map(Self)
    }

    /// The file of another process.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// Notes that a change happens now.
    pub(super) fn note(&self, change: u32) -> io::Result<()> {
        self.0.write_all_at(&now()?.to_le_bytes(), u64::from(change) * 8)
    }

    fn of(&self, change: u32) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, u64::from(change) * 8)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// What a process has received of one change.
#[derive(Clone, Copy, Debug, Default)]
struct Receipt {
    happened: u64,
    /// Agents that have it.
    agents: u32,
    /// When the last of them got it.
    last: u64,
}

/// What the agents of a process have received.
#[derive(Debug)]
pub(super) struct Ledger {
    times: Times,
    receipts: Vec<Receipt>,
    latency: Histogram<u64>,
    bytes: u64,
    responses: u64,
}

/// The same, as it is told to the process that measures.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Received {
    /// Of each change the nanoseconds until the last agent of the process had it, and how many had it at all.
    pub(super) changes: Vec<(u64, u32)>,
    /// Nanoseconds, and how many receipts took them, to three digits.
    pub(super) latency: Vec<(u64, u64)>,
    /// Bytes of all responses.
    pub(super) bytes: u64,
    /// Their number.
    pub(super) responses: u64,
}

/// An empty histogram of nanoseconds, to three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3)
        .unwrap_or_else(|error| unreachable!("the bounds are right: {error}"))
}

impl Ledger {
    pub(super) fn new(times: Times) -> Self {
        Self { times, receipts: Vec::new(), latency: histogram(), bytes: 0, responses: 0 }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.receipts.clear();
        self.latency.reset();
        (self.bytes, self.responses) = (0, 0);
    }

    /// A response came.
    pub(super) fn response(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.responses += 1;
    }

    /// A change came to an agent.
    pub(super) fn receive(&mut self, change: u32, at: u64) -> io::Result<()> {
        let index = change as usize;
        if self.receipts.len() <= index {
            self.receipts.resize(index + 1, Receipt::default());
        }
        let receipt = &mut self.receipts[index];
        if receipt.happened == 0 {
            receipt.happened = self.times.of(change)?;
        }
        receipt.agents += 1;
        receipt.last = receipt.last.max(at);
        self.latency.saturating_record(at.saturating_sub(receipt.happened).max(1));
        Ok(())
    }

    /// Whether so many agents have all changes from one to another, which is not one of them.
    pub(super) fn is_complete(&self, first: u32, end: u32, agents: u32) -> bool {
        let all = self.receipts.get(first as usize..end as usize);
        all.is_some_and(|all| all.iter().all(|receipt| receipt.agents >= agents))
    }

    /// What was received of these changes.
    pub(super) fn received(&self, first: u32, end: u32) -> Received {
        let of = |change: u32| {
            let receipt = self.receipts.get(change as usize).copied().unwrap_or_default();
            (receipt.last.saturating_sub(receipt.happened), receipt.agents)
        };
        let steps = self.latency.iter_recorded();
        Received {
            changes: (first..end).map(of).collect(),
            latency: steps.map(|step| (step.value_iterated_to(), step.count_at_value())).collect(),
            bytes: self.bytes,
            responses: self.responses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_from_when_it_happened_to_its_last_receipt() {
        let path = std::env::temp_dir().join(format!("fairway-ledger-{}", std::process::id()));
        let times = Times::create(&path).unwrap();
        times.note(0).unwrap();
        times.note(1).unwrap();
        let mut ledger = Ledger::new(Times::open(&path).unwrap());
        let happened = times.of(1).unwrap();
        ledger.receive(1, happened + 5_000).unwrap();
        assert!(!ledger.is_complete(1, 2, 2));
        ledger.receive(1, happened + 3_000).unwrap();
        assert!(ledger.is_complete(1, 2, 2) && !ledger.is_complete(0, 2, 1) && !ledger.is_complete(1, 3, 2));
        ledger.response(7);
        let received = ledger.received(0, 2);
        assert_eq!((received.changes, received.bytes), (vec![(0, 0), (5_000, 2)], 7));
        assert_eq!(received.latency.iter().map(|(_, count)| count).sum::<u64>(), 2);
        ledger.clear();
        assert!(!ledger.is_complete(1, 2, 0));
        std::fs::remove_file(path).unwrap();
    }
}
