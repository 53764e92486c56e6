//! What came of the matrix: a table, a line for each statement, and the total.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cell::{Cell, Policy, Sockets, named};
use super::peer::Peer;

#[derive(Clone, Copy, Default)]
struct Count {
    passed: usize,
    failed: usize,
    not_applicable: usize,
}

/// Counted cells.
#[derive(Default)]
pub(super) struct Summary {
    /// By world, client and policy.
    rows: BTreeMap<(String, &'static str, &'static str), Count>,
    statements: BTreeMap<u16, Count>,
    not_applicable: BTreeMap<&'static str, usize>,
    /// Cells in which a peer must do something else, by reason.
    different: BTreeMap<&'static str, usize>,
    /// Worlds whose counters do not fit.
    uncounted: usize,
}

impl Summary {
    fn row(&mut self, cell: Cell) -> &mut Count {
        let sockets = match cell.sockets {
            Sockets::All => "all",
            Sockets::Host => "host",
            Sockets::Off => "off",
            Sockets::Nftables => "nftables",
        };
        let key = (sockets.to_owned(), cell.client.name(), named(&Policy::ALL, cell.policy));
        self.rows.entry(key).or_default()
    }

    pub(super) fn skip(&mut self, cell: Cell, why: &'static str) {
        self.row(cell).not_applicable += 1;
        *self.not_applicable.entry(why).or_default() += 1;
    }

    pub(super) fn differs(&mut self, why: &'static str) {
        *self.different.entry(why).or_default() += 1;
    }

    pub(super) fn add(&mut self, cell: Cell, numbers: &[u16], error: Option<anyhow::Error>) {
        let failed = usize::from(error.is_some());
        let passed = 1 - failed;
        if let Some(error) = error {
            println!("cell {} ... FAILED: {error:#}", cell.name());
        }
        let row = self.row(cell);
        row.passed += passed;
        row.failed += failed;
        for number in numbers {
            let count = self.statements.entry(*number).or_default();
            count.passed += passed;
            count.failed += failed;
        }
    }

    /// Compares what the agents counted with what must have been dropped.
    pub(super) fn counted(&mut self, world: &str, reason: &str, packets: u64, counted: u64) {
        println!("{world}: {packets} questions got no answer, {counted} times {reason} was counted");
        if counted < packets {
            println!("cell {world}/counters/{reason} ... FAILED");
            self.uncounted += 1;
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.rows.values().map(|count| count.failed).sum::<usize>() + self.uncounted
    }

    /// The last line is the total, with the peer's name unless it is Fairway itself.
    pub(super) fn print(&self, peer: Peer, taken: Duration) {
        for (why, cells) in &self.not_applicable {
            println!("not applicable: {cells} cells: {why}");
        }
        for (why, cells) in &self.different {
            println!("differs: {cells} cells: {why}");
        }
        println!(
            "\n{:<8} {:<20} {:<16} {:>7} {:>7} {:>7}",
            "sockets", "client", "policy", "passed", "failed", "n/a"
        );
        for ((sockets, client, policy), count) in &self.rows {
            let Count { passed, failed, not_applicable } = count;
            println!("{sockets:<8} {client:<20} {policy:<16} {passed:>7} {failed:>7} {not_applicable:>7}");
        }
        println!();
        let suite = if peer == Peer::Fairway { "matrix" } else { "matrix-peer" };
        for (number, count) in &self.statements {
            let word = if count.failed == 0 { "ok" } else { "FAILED" };
            println!("test {suite}/S{number} ... {word} ({} cells)", count.passed + count.failed);
        }
        let passed: usize = self.rows.values().map(|count| count.passed).sum();
        let failed = self.failed();
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!("\ntest result: {word}. {passed} passed; {failed} failed; finished in {taken:.1?}");
        let name = if peer == Peer::Fairway { String::new() } else { format!(" (peer {})", peer.name()) };
        println!("matrix: {} cells, {failed} failed{name}", passed + failed);
    }
}
