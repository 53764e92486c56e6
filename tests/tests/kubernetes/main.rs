//! The control plane at an API server of Kubernetes: every trial has a server and a control plane of its own, both in this
//! process, and the agent's end of the stream; and a lab whose nodes serve what such a server has.
//!
//! `cargo test -p fairway-tests --test kubernetes -- WORDS` runs those whose name contains all words; `--list` prints the
//! names.

mod access;
mod agent;
mod expected;
mod faults;
mod losses;
mod nodes;
mod objects;
mod sync;
mod watches;
mod world;
mod writes;

use std::process::ExitCode;

use fairway_tests::trial::{self, Tally, Trial};

const ROOMS: [&[Trial<()>]; 7] = [
    sync::TRIALS,
    objects::TRIALS,
    watches::TRIALS,
    faults::TRIALS,
    losses::TRIALS,
    access::TRIALS,
    writes::TRIALS,
];

fn main() -> ExitCode {
    world::logs();
    if std::env::args().any(|argument| argument == "--list") {
        nodes::TRIALS.iter().for_each(|(name, _)| println!("{name}: test"));
    }
    trial::runner("kubernetes", &ROOMS, run)
}

async fn run(arguments: Vec<String>) -> anyhow::Result<Tally> {
    let mut tally = Tally::new(arguments.into_iter().filter(|word| !word.starts_with('-')).collect());
    let all: Vec<Trial<()>> = ROOMS.concat();
    tally.run_together("kubernetes", &(), &all).await;
    if tally.wants("kubernetes", nodes::TRIALS) {
        let world = nodes::World::up().await?;
        let failed = tally.failed();
        tally.run("kubernetes", &world, nodes::TRIALS).await;
        if tally.failed() > failed {
            println!("logs: {}", fairway_tests::lab::keep_logs(&world.lab.state)?.display());
        }
    }
    Ok(tally)
}
