//! The control plane at an API server of Kubernetes: every trial has a server and a control plane of its own, both in this
//! process, and the agent's end of the stream.
//!
//! `cargo test -p fairway-tests --test kubernetes -- WORDS` runs those whose name contains all words; `--list` prints the
//! names.

mod access;
mod agent;
mod expected;
mod faults;
mod losses;
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
    trial::plain_runner(&ROOMS, run)
}

async fn run(arguments: Vec<String>) -> anyhow::Result<Tally> {
    let mut tally = Tally::new(arguments.into_iter().filter(|word| !word.starts_with('-')).collect());
    let all: Vec<Trial<()>> = ROOMS.concat();
    tally.run_together("kubernetes", &(), &all).await;
    Ok(tally)
}
