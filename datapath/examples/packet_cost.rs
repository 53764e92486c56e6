//! What one packet costs in each program: nanoseconds of the kernel's test runs, beside those of an empty program.

#[expect(dead_code, clippy::unwrap_used, reason = "shared with the packet tests")]
#[path = "../tests/packet/frame.rs"]
mod frame;
#[path = "../tests/packet/netns.rs"]
mod netns;
#[path = "packet_cost/run.rs"]
mod run;
#[expect(dead_code, clippy::unwrap_used, reason = "shared with the packet tests")]
#[path = "../tests/packet/world.rs"]
mod world;

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use clap::{Parser, ValueEnum};
use fairway_common::conntrack::{Entry, Tuple, flags, tcp};
use fairway_common::{Family, TCP, family};

use crate::world::{NAT_PORTS, World};

/// Measures what one packet costs in each kernel program.
///
/// The kernel runs a program on one packet again and again and says how long a run takes. What happens after the
/// program, the redirect itself included, is not in the figures. A known connection is measured with an entry that
/// translates it to itself: the same work, and the packet stays as it is for the next run. In each round all rows take
/// turns; the median of the rounds is shown.
#[derive(Parser)]
#[command(name = "x bench packet", bin_name = "./x bench packet")]
struct Arguments {
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Runs of each row in a round
    #[arg(long, default_value_t = 200_000)]
    repeat: u32,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// One thing to measure.
struct Row {
    program: &'static str,
    path: &'static str,
    family: &'static str,
    fd: RawFd,
    device: u32,
    packet: Vec<u8>,
    verdict: i32,
    /// Nanoseconds of each round.
    rounds: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut world = World::load(NAT_PORTS, false).map_err(anyhow::Error::msg)?;
    let empty = run::load_empty()?;
    world.begin(true, TCP);
    let packet = world.frame(world.pod(1, 1), world.pod(2, 1)).build();
    let (fd, device, rounds) = (empty.as_raw_fd(), world.devices[1], Vec::new());
    let (program, path, family) = ("empty", "the yardstick", "");
    let mut rows = vec![Row { program, path, family, fd, device, packet, verdict: -1, rounds }];
    for v4 in [true, false] {
        world.select(v4, TCP);
        rows.extend(family_rows(&mut world)?);
    }
    for _ in 0..arguments.rounds {
        for row in &mut rows {
            let cost = measure(row, arguments.repeat)?;
            row.rounds.push(cost);
        }
    }
    print(&mut rows, arguments.output);
    Ok(())
}

fn family_rows(world: &mut World) -> anyhow::Result<Vec<Row>> {
    const PASS: i32 = -1;
    const REDIRECT: i32 = 7;
    let (pod, other, remote) = (world.pod(1, 4000), world.pod(2, 8080), world.remote(1, 8080));
    let elsewhere = world.remote(9, 9);
    world.put_pod(1);
    world.put_pod(2);
    let from_pod = world.datapath.classifier("from_pod")?.fd()?.as_fd().as_raw_fd();
    // A first connection marks the pod as one that uses Services.
    world.put(world.service(1), &[remote], &[], 0);
    run::test_run(from_pod, &world.frame(pod, world.service(1)).build(), world.devices[1])?;
    become_themselves(world, pod, remote)?;
    let table = [
        ("from_pod", "passes", pod, elsewhere, PASS),
        ("from_pod", "to another pod", pod, other, REDIRECT),
        ("from_pod", "known connection, routed", pod, remote, REDIRECT),
        ("from_network", "to a pod", elsewhere, other, REDIRECT),
        ("from_network", "reply to a pod", remote, pod, REDIRECT),
        ("to_network", "passes", world.node(4000), elsewhere, PASS),
        ("to_pod", "passes", elsewhere, other, PASS),
    ];
    let rows = table.into_iter().map(|(program, path, source, destination, verdict)| {
        Ok(Row {
            program,
            path,
            family: if world.v4 { "IPv4" } else { "IPv6" },
            fd: world.datapath.classifier(program)?.fd()?.as_fd().as_raw_fd(),
            device: if program.ends_with("network") { world.devices[0] } else { world.devices[1] },
            packet: world.frame(source, destination).flags(tcp::ACK).ttl(255).build(),
            verdict,
            rounds: Vec::new(),
        })
    });
    rows.collect()
}

/// Records a connection that is translated to itself.
fn become_themselves(world: &mut World, client: SocketAddr, server: SocketAddr) -> anyhow::Result<()> {
    fn tuple<A: Family>(source: A, destination: A, ends: [SocketAddr; 2]) -> Tuple<A> {
        let [source_port, destination_port] = ends.map(|end| end.port().to_be());
        Tuple { source, destination, source_port, destination_port, protocol: TCP, pad: [0; 3] }
    }
    fn entry<A: Family>(to: Tuple<A>, flags: u32) -> Entry<A> {
        Entry { to, last_seen: 0, flags, service: 1, backend: 1 }
    }
    let seen = flags::SYN | flags::DATA;
    for (from, to, flags) in [(client, server, seen), (server, client, seen | flags::REPLY)] {
        match (from, to) {
            (SocketAddr::V4(a), SocketAddr::V4(b)) => {
                let key = tuple(family::v4(*a.ip()), family::v4(*b.ip()), [from, to]);
                world.conntrack4.insert(key, entry(key, flags), 0)?;
            }
            (SocketAddr::V6(a), SocketAddr::V6(b)) => {
                let key = tuple(family::v6(*a.ip()), family::v6(*b.ip()), [from, to]);
                world.conntrack6.insert(key, entry(key, flags), 0)?;
            }
            _ => anyhow::bail!("two families"),
        }
    }
    Ok(())
}

/// Nanoseconds of one run, the mean of `repeat` runs.
fn measure(row: &Row, repeat: u32) -> anyhow::Result<f64> {
    let batches = repeat.div_ceil(run::BATCH);
    let mut sum = 0;
    for _ in 0..batches {
        let (verdict, nanoseconds) = run::test_run(row.fd, &row.packet, row.device)?;
        anyhow::ensure!(verdict == row.verdict, "{}, {}: verdict {verdict}", row.program, row.path);
        sum += u64::from(nanoseconds);
    }
    Ok(sum as f64 / f64::from(batches))
}

fn print(rows: &mut [Row], output: Output) {
    let medians: Vec<f64> = (rows.iter_mut())
        .map(|row| {
            row.rounds.sort_by(f64::total_cmp);
            row.rounds[row.rounds.len() / 2]
        })
        .collect();
    let shown = rows.iter().zip(&medians).map(|(row, median)| (row, median, median / medians[0]));
    if output == Output::Json {
        let rows: Vec<_> = shown
            .map(|(row, median, ratio)| {
                serde_json::json!({ "program": row.program, "path": row.path, "family": row.family,
                    "nanoseconds": median, "ratioToEmpty": ratio, "rounds": row.rounds })
            })
            .collect();
        println!("{:#}", serde_json::Value::from(rows));
        return;
    }
    println!("{:14}{:26}{:8}{:>8}{:>8}", "PROGRAM", "PATH", "FAMILY", "NS", "RATIO");
    for (row, median, ratio) in shown {
        println!("{:14}{:26}{:8}{median:>8.1}{ratio:>8.1}", row.program, row.path, row.family);
    }
}
