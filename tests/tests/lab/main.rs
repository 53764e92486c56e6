//! Real traffic through two labs, one that translates at the sockets and one that translates packets alone; and with
//! `--matrix`, the matrix of who reaches what by which address.
//!
//! A runner of its own because all tests share the labs. `cargo test -p fairway-tests --test lab -- WORDS` runs those whose
//! name contains all words; `--list` prints the names.

mod affinity;
mod bandwidth;
mod behaviour;
mod bpf;
mod datagrams;
mod health;
mod host_ports;
mod lifecycle;
mod matrix;
mod node;
mod outage;
mod own;
mod packets;
mod programs;
mod replicas;
mod services;
mod settings;
mod trial;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use fairway_tests::lab::SocketLb;
use fairway_tests::trial::Tally;
use matrix::{Choice, Peer};
use world::World;

use trial::ROOMS;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| arguments.iter().skip_while(|argument| *argument != flag).nth(1).cloned();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let (family, protocol, peer) = (after("--family"), after("--proto"), after("--peer"));
    let routing = after("--routing");
    let is_value = |word: &String| {
        [&family, &protocol, &peer, &routing].into_iter().any(|value| value.as_ref() == Some(word))
    };
    let words = arguments.iter().filter(|word| !word.starts_with('-') && !is_value(word)).cloned().collect();
    let Some(peer) = peer.as_deref().map_or(Some(Peer::default()), Peer::of_name) else {
        eprintln!("--peer is `fairway` or `nftables`");
        return ExitCode::FAILURE;
    };
    let choice = Choice { peer, routing, family, protocol, full: has("--full"), words };
    if has("--list") {
        for (name, _) in ROOMS.iter().flat_map(|room| room.iter()) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("the lab suite needs root for network namespaces: run it as root, or with sudo");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(choice, has("--matrix"))))
    {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(choice: Choice, is_matrix: bool) -> anyhow::Result<ExitCode> {
    if is_matrix {
        let failed = matrix::run(&choice).await?;
        return Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let start = Instant::now();
    let routing = choice.routing.as_deref();
    let (on, off) = tokio::join!(World::up(SocketLb::All, routing), World::up(SocketLb::Off, routing));
    let worlds = [on?, off?];
    println!("two labs up in {:.1?}", start.elapsed());
    let mut tally = Tally::new(choice.words);
    for world in &worlds {
        world.wait_for_services().await?;
    }
    for room in ROOMS {
        for world in &worlds {
            tally.run(world.name(), world, room).await;
        }
    }
    if tally.failed() > 0 {
        worlds.iter().try_for_each(World::keep_logs)?;
    }
    tally.print(start.elapsed());
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
