//! Fairway's CNI plugin, called by a real container runtime: a lab in which a containerd on each node makes the pods.
//!
//! A runner of its own because all tests share the lab. `cargo test -p fairway-tests --test cni -- WORDS` runs those whose
//! name contains all words; `--list` prints the names.

mod chained;
mod chaos;
mod held;
mod own;
mod podman;
mod pods;
mod restarts;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use fairway_tests::trial::{self, Tally, Trial};
use world::{Choice, World};

/// All tables, in the order in which they run.
const ROOMS: [&[Trial<World>]; 4] = [pods::TRIALS, chained::TRIALS, podman::TRIALS, restarts::TRIALS];

fn main() -> ExitCode {
    trial::runner("cni", &ROOMS, run)
}

async fn run(arguments: Vec<String>) -> anyhow::Result<Tally> {
    let seed = arguments.iter().skip_while(|word| *word != "--seed").nth(1).cloned();
    let choice = Choice {
        full: arguments.iter().any(|word| word == "--full"),
        seed: seed.as_deref().and_then(|seed| seed.parse().ok()),
    };
    let words = arguments.into_iter().filter(|word| !word.starts_with('-') && seed.as_ref() != Some(word));
    let mut tally = Tally::new(words.collect());
    let start = Instant::now();
    let world = World::up(choice).await?;
    println!("a lab with a containerd on each node up in {:.1?}", start.elapsed());
    for room in ROOMS {
        tally.run("containerd", &world, room).await;
    }
    if tally.failed() > 0 {
        println!("logs: {}", fairway_tests::lab::keep_logs(&world.lab.state)?.display());
    }
    Ok(tally)
}
