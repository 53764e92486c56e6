//! Kernel programs and tables while traffic runs: swapped by the agent, or removed by hand.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fairway_tests::eventually_within;
use fairway_tests::lab::SocketLb;
use fairway_tests::traffic::{Kind, http_text};
use futures::FutureExt;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::bpf;
use super::own::{Own, becomes, latest, one_socket};
use super::services::{Addresses, LOCAL_POD, REMOTE_POD};
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S101
    ("nothing_waits_while_programs_are_swapped", |world| swapped(world).boxed()),
    // S102
    ("programs_links_pins_and_entries_that_vanish_are_restored", |world| vanish(world).boxed()),
];

const SWAPPED: Addresses = Addresses(35);

/// Node1's metrics.
pub(crate) fn metrics(world: &World) -> anyhow::Result<String> {
    let to = (Ipv4Addr::LOCALHOST, 10256).into();
    let page = world.lab.state.netns("node1").within(|| http_text(to, "/metrics", Duration::from_secs(5)));
    page.context("/metrics of node1")
}

/// The kernel checks new programs for seconds: neither the agent's pages nor changes of Services wait for that.
async fn swapped(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let mut trace = tokio::process::Command::from(world.lab.command("node1", "fairway")?)
        .arg("trace")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = BufReader::new(trace.stderr.take().context("no output")?).lines();
    let mut began = std::pin::pin!(said.next_line());
    let to = (SWAPPED.cluster_ip(false), 80);
    let (mut slowest, mut rounds) = (Duration::ZERO, 0_u32);
    let began = loop {
        let app = if rounds % 2 == 0 { LOCAL_POD.name } else { REMOTE_POD.name };
        let start = Instant::now();
        own.apply(&SWAPPED.manifest("swapped", &format!("selector: {{app: {app}}}"), 8080, false))?;
        becomes(world, Position::PodSameNode, to, app).await?;
        let changed = start.elapsed();
        metrics(world)?;
        (slowest, rounds) = (slowest.max(changed).max(start.elapsed().saturating_sub(changed)), rounds + 1);
        if let Ok(line) = tokio::time::timeout(Duration::from_millis(1), &mut began).await {
            break line?.unwrap_or_default();
        }
    };
    trace.kill().await?;
    ensure!(began.contains("tracing is on"), "{began}");
    ensure!(slowest < Duration::from_secs(3), "something waited for {slowest:?}");
    Ok(())
}

/// What is removed by hand, and as what its repair is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Removed {
    DeviceLinks,
    SocketLinks,
    LinkPins,
    MapPins,
    Entry,
    PodEntry,
}

impl Removed {
    fn counted(self) -> &'static str {
        match self {
            Self::DeviceLinks | Self::SocketLinks => "link",
            Self::LinkPins => "link-pin",
            Self::MapPins => "map-pin",
            Self::Entry => "entry",
            Self::PodEntry => "pod",
        }
    }
}

/// The pins below a directory of node1's whose names contain a word.
fn pins(world: &World, directory: &str, word: &str) -> anyhow::Result<Vec<PathBuf>> {
    let all = fs::read_dir(world.lab.state.pins(Some("node1")).join(directory))?;
    let pins = all.flatten().map(|entry| entry.path());
    let pins: Vec<_> = pins.filter(|pin| pin.to_string_lossy().contains(word)).collect();
    ensure!(!pins.is_empty(), "nothing is pinned at {directory} with {word}");
    Ok(pins)
}

fn map_directory(world: &World) -> anyhow::Result<String> {
    let all = fs::read_dir(world.lab.state.pins(Some("node1")))?;
    let names = all.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.into_iter().find(|name| name.starts_with('v')).context("no maps are pinned")
}

fn remove(world: &World, what: Removed) -> anyhow::Result<()> {
    let maps = map_directory(world)?;
    let each = |pins: Vec<PathBuf>, remove: fn(&std::path::Path) -> std::io::Result<()>| {
        pins.iter().try_for_each(|pin| remove(pin).with_context(|| pin.display().to_string()))
    };
    match what {
        Removed::DeviceLinks => {
            each(pins(world, "links", "_pod@")?, bpf::detach)?;
            each(pins(world, "links", "from_network@")?, bpf::detach)
        }
        Removed::SocketLinks => each(pins(world, "links", "@cgroup")?, bpf::detach),
        Removed::LinkPins => each(pins(world, "links", "@")?, |pin| fs::remove_file(pin)),
        Removed::MapPins => each(pins(world, &maps, "")?, |pin| fs::remove_file(pin)),
        Removed::Entry => {
            let IpAddr::V4(address) = REMOTE_POD.cluster_ip(false) else { unreachable!("an IPv4 address") };
            let mut key = address.octets().to_vec();
            key.extend(80_u16.to_be_bytes());
            key.extend([6, 0]);
            let frontends = world.lab.state.pins(Some("node1")).join(maps).join("FRONTENDS4");
            Ok(bpf::delete(&frontends, &key)?)
        }
        Removed::PodEntry => {
            let IpAddr::V4(address) = world.pod_address("client-1", false)? else {
                unreachable!("an IPv4 address")
            };
            let pods = world.lab.state.pins(Some("node1")).join(maps).join("PODS4");
            Ok(bpf::delete(&pods, &address.octets())?)
        }
    }
}

/// How many repairs of a kind were counted.
fn repairs(world: &World, kind: &str) -> anyhow::Result<u64> {
    let start = format!("fairway_repairs_total{{what=\"{kind}\"}} ");
    let page = metrics(world)?;
    Ok(page.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).unwrap_or_default())
}

async fn vanish(world: &World) -> anyhow::Result<()> {
    let frontends = [
        (Position::PodSameNode, (REMOTE_POD.cluster_ip(false), 80)),
        (Position::NodeProcess, (REMOTE_POD.cluster_ip(false), 80)),
        (Position::External, (world.node_address(1, false), REMOTE_POD.node_port())),
    ];
    // Without programs at devices the kernel answers and resets what is translated there: only what sockets do goes on.
    let at_sockets = |from: Position| world.socket_lb != SocketLb::Off && from != Position::External;
    let mut kept = Vec::new();
    for (from, to) in frontends.iter().filter(|(from, _)| at_sockets(*from)) {
        kept.push((*from, one_socket(world, *from, Kind::Tcp, *to).await?));
    }
    let mut result = restored(world, Removed::DeviceLinks, &frontends).await.context("DeviceLinks");
    for (from, to) in frontends.iter().filter(|(from, _)| !at_sockets(*from)) {
        kept.push((*from, one_socket(world, *from, Kind::Tcp, *to).await?));
    }
    for what in [Removed::SocketLinks, Removed::LinkPins, Removed::MapPins, Removed::Entry, Removed::PodEntry]
    {
        if result.is_ok() && (what != Removed::SocketLinks || world.socket_lb != SocketLb::Off) {
            result = restored(world, what, &frontends).await.with_context(|| format!("{what:?}"));
        }
    }
    for (from, load) in kept {
        let answered = latest(world, from, &load, |name| name == REMOTE_POD.name).await;
        let report = world.client(from).stop_load(load).await?;
        result =
            result.and(answered.with_context(|| format!("the connection of {}: {report:?}", from.name())));
    }
    result
}

async fn restored(
    world: &World,
    what: Removed,
    frontends: &[(Position, (IpAddr, u16))],
) -> anyhow::Result<()> {
    let before = repairs(world, what.counted())?;
    remove(world, what)?;
    let counted = || async { repairs(world, what.counted()).map_err(|error| format!("{error:#}")) };
    let told = |count: &Result<u64, String>| count.as_ref().is_ok_and(|count| *count > before);
    // Tables are compared in proportion to what that costs, which is much for a debug agent on a busy machine.
    let limit = Duration::from_secs(if what == Removed::Entry { 120 } else { 20 });
    eventually_within(limit, "the repair is counted", counted, told).await?.ok();
    for (from, to) in frontends {
        becomes(world, *from, *to, REMOTE_POD.name).await?;
    }
    let status = world.lab.run("node1", &["fairway", "status"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let words = if what == Removed::Entry { "service table" } else { "again" };
    let line = status.lines().find(|line| line.contains("repairs")).unwrap_or_default();
    ensure!(line.contains(words), "`fairway status` says: {line}");
    Ok(())
}
