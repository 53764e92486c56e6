//! Tests as rows of tables, each run in every world.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::world::World;
use crate::{
    affinity, behaviour, datagrams, health, host_ports, lifecycle, node, outage, packets, programs, settings,
};

/// A name that says the behaviour, and what shows it in a world. The comment above a row has the statements' numbers.
pub(crate) type Trial = (&'static str, for<'a> fn(&'a World) -> BoxFuture<'a, anyhow::Result<()>>);

/// All tables, in the order in which they run.
pub(crate) const ROOMS: [&[Trial]; 11] = [
    behaviour::TRIALS,
    settings::TRIALS,
    lifecycle::TRIALS,
    packets::TRIALS,
    datagrams::TRIALS,
    affinity::TRIALS,
    health::TRIALS,
    node::TRIALS,
    host_ports::TRIALS,
    programs::TRIALS,
    outage::TRIALS,
];

/// What ran so far.
pub(crate) struct Tally {
    words: Vec<String>,
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    /// Runs only what has all these words in its name.
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self { words, passed: 0, failed: Vec::new() }
    }

    pub(crate) fn failed(&self) -> usize {
        self.failed.len()
    }

    /// Runs the rows of a table that are asked for, and prints a line for each.
    pub(crate) async fn run(&mut self, world: &World, room: &[Trial]) {
        for (name, test) in room {
            let name = format!("{}/{name}", world.name());
            if !self.words.iter().all(|word| name.contains(word.as_str())) {
                continue;
            }
            let start = Instant::now();
            match test(world).await {
                Ok(()) => {
                    self.passed += 1;
                    println!("test {name} ... ok ({:.1?})", start.elapsed());
                }
                Err(error) => {
                    println!("test {name} ... FAILED\n    {error:#}");
                    self.failed.push(name);
                }
            }
        }
    }

    pub(crate) fn print(&self, taken: Duration) {
        for name in &self.failed {
            println!("failed: {name}");
        }
        let (passed, failed) = (self.passed, self.failed());
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!("test result: {word}. {passed} passed; {failed} failed; finished in {taken:.1?}");
    }
}
