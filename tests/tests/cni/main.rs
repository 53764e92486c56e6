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

use fairway_tests::trial::{Tally, Trial};
use world::{Choice, World};

/// All tables, in the order in which they run.
const ROOMS: [&[Trial<World>]; 4] = [pods::TRIALS, chained::TRIALS, podman::TRIALS, restarts::TRIALS];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        ROOMS.iter().flat_map(|room| room.iter()).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("the cni suite needs root for network namespaces: run it as root, or with sudo");
        return ExitCode::FAILURE;
    }
    let seed = arguments.iter().skip_while(|word| *word != "--seed").nth(1).cloned();
    let choice = Choice {
        full: arguments.iter().any(|word| word == "--full"),
        seed: seed.as_deref().and_then(|seed| seed.parse().ok()),
    };
    let words = arguments.into_iter().filter(|word| !word.starts_with('-') && seed.as_ref() != Some(word));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(choice, words.collect())))
    {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(choice: Choice, words: Vec<String>) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let world = World::up(choice).await?;
    println!("a lab with a containerd on each node up in {:.1?}", start.elapsed());
    let mut tally = Tally::new(words);
    for room in ROOMS {
        tally.run("containerd", &world, room).await;
    }
    if tally.failed() > 0 {
        println!("logs: {}", fairway_tests::lab::keep_logs(&world.lab.state)?.display());
    }
    tally.print(start.elapsed());
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
