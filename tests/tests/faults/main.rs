//! What goes wrong around real agents with real traffic: each trial breaks something while clients ask on, and no client may
//! notice.
//!
//! A runner of its own because trials share a lab. `cargo test -p fairway-tests --test faults -- WORDS` runs those whose
//! name contains all words; `--list` prints the names.

mod clock;
mod control;
mod disk;
mod expiry;
mod other;
mod partition;
mod secured;
mod world;

use std::process::ExitCode;

use fairway_tests::trial::{self, Tally, Trial};
use world::World;

const ROOMS: [&[Trial<World>]; 5] =
    [control::TRIALS, partition::TRIALS, disk::TRIALS, expiry::TRIALS, clock::TRIALS];

fn main() -> ExitCode {
    trial::runner("faults", &ROOMS, run)
}

async fn run(arguments: Vec<String>) -> anyhow::Result<Tally> {
    let mut tally = Tally::new(arguments.into_iter().filter(|word| !word.starts_with('-')).collect());
    if !ROOMS.iter().any(|room| tally.wants("faults", room)) {
        return Ok(tally);
    }
    let world = World::up().await?;
    for room in ROOMS {
        tally.run("faults", &world, room).await;
    }
    if tally.failed() > 0 {
        println!("logs: {}", fairway_tests::lab::keep_logs(&world.lab.state)?.display());
    }
    Ok(tally)
}
