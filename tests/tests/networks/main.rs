//! Networks across nodes: labs of three nodes, natively routed and in tunnels, of each family and of both.
//!
//! A runner of its own because tests share labs. `cargo test -p fairway-tests --test networks -- WORDS` runs those whose
//! name contains all words; `--list` prints the names.

mod changes;
mod direct;
mod foreign;
mod outside;
mod tunnels;
mod ways;
mod wire;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use fairway_tests::lab::{Families, SocketLb};
use fairway_tests::trial::{self, Tally, Trial};
use world::{NATIVE, VXLAN, World};

/// What runs in each lab. Those that change the lab come last.
const ROOMS: [&[Trial<World>]; 6] =
    [ways::TRIALS, outside::TRIALS, tunnels::TRIALS, wire::TRIALS, direct::TRIALS, changes::TRIALS];

const LABS: [(&str, Families, SocketLb); 6] = [
    (NATIVE, Families::Dual, SocketLb::Off),
    (VXLAN, Families::Dual, SocketLb::All),
    (VXLAN, Families::Ipv4, SocketLb::Off),
    (NATIVE, Families::Ipv4, SocketLb::All),
    (VXLAN, Families::Ipv6, SocketLb::Off),
    (NATIVE, Families::Ipv6, SocketLb::All),
];

fn main() -> ExitCode {
    trial::runner("networks", &ROOMS, run)
}

async fn run(arguments: Vec<String>) -> anyhow::Result<Tally> {
    let mut tally = Tally::new(arguments.into_iter().filter(|word| !word.starts_with('-')).collect());
    for (routing, families, socket_lb) in LABS {
        let name = World::name_of(routing, families);
        if !ROOMS.iter().any(|room| tally.wants(&name, room)) {
            continue;
        }
        let begun = Instant::now();
        let world = World::up(routing, families, socket_lb).await?;
        println!("lab {name} up in {:.1?}", begun.elapsed());
        let failed = tally.failed();
        for room in ROOMS {
            tally.run(&name, &world, room).await;
        }
        if tally.failed() > failed {
            println!("logs: {}", fairway_tests::lab::keep_logs(&world.lab.state)?.display());
        }
    }
    Ok(tally)
}
