//! Shapes of packets: large, cut, spoofed, or for nobody.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use fairway_tests::lab::SocketLb;
use fairway_tests::traffic::{Failure, Kind, Query};
use futures::FutureExt;

use super::own::{Own, becomes, frontend};
use super::services::{Addresses, EMPTY, LOCAL_POD, REMOTE_POD};
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S33
    ("a_refused_call_sends_no_packet", |world| no_packet(world).boxed()),
    // S35
    ("an_unknown_port_refuses_and_an_unused_address_drops", |world| nobody(world).boxed()),
    // S37
    ("a_ping_to_a_cluster_ip_goes_in_no_circle", |world| ping(world).boxed()),
    // S76
    ("a_node_port_works_on_an_address_added_later", |world| later_address(world).boxed()),
    // S85
    ("a_datagram_in_fragments_arrives_through_services", |world| fragments(world).boxed()),
    // S89
    ("a_pod_cannot_send_from_a_foreign_address", |world| spoofed(world).boxed()),
];

const LATER: Addresses = Addresses(34);

/// Packets that a place has sent by `eth0`.
fn sent(world: &World, pod: &str) -> anyhow::Result<u64> {
    let place = world.lab.place(pod)?;
    let netns = fairway_tests::lab::Netns::named(&place.netns);
    let text = netns.within(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).context("no eth0")?;
    Ok(line.split_whitespace().nth(9).context("no count")?.parse()?)
}

async fn no_packet(world: &World) -> anyhow::Result<()> {
    if world.socket_lb == SocketLb::Off {
        return Ok(());
    }
    let before = sent(world, "default/client-1")?;
    for kind in [Kind::Tcp, Kind::Udp, Kind::UdpUnconnected] {
        for _ in 0..50 {
            let query = Query::new(kind, (EMPTY.cluster_ip(false), 80).into());
            let outcome = world.client(Position::PodSameNode).ask(query).await?;
            ensure!(outcome.reply.is_err(), "{kind:?}: {:?}", outcome.reply);
        }
    }
    // Probes of the node may be answered meanwhile, a few packets each.
    let packets = sent(world, "default/client-1")? - before;
    ensure!(packets < 50, "{packets} packets for 150 calls");
    Ok(())
}

async fn nobody(world: &World) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for v6 in [false, true] {
        let unused = Addresses(150).cluster_ip(v6);
        for from in [Position::PodSameNode, Position::NodeProcess] {
            for kind in [Kind::Tcp, Kind::Udp] {
                for (to, expected) in [
                    ((LOCAL_POD.cluster_ip(v6), 9999), [Failure::Refused, Failure::NotPermitted]),
                    ((unused, 80), [Failure::TimedOut, Failure::NotPermitted]),
                ] {
                    let query = Query { timeout: Duration::from_millis(800), ..Query::new(kind, to.into()) };
                    let outcome = world.client(from).ask(query).await?;
                    if !outcome.reply.as_ref().is_err_and(|failure| expected.contains(failure)) {
                        wrong.push(format!("{kind:?} from {} to {to:?}: {:?}", from.name(), outcome.reply));
                    }
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    Ok(())
}

/// An echo request that went in a circle would end as a time to live that ran out, after many turns.
async fn ping(world: &World) -> anyhow::Result<()> {
    let before = sent(world, "client")?;
    for v6 in [false, true] {
        for from in Position::EVERY.into_iter().filter(|from| *from != Position::External) {
            let to = (LOCAL_POD.cluster_ip(v6), 0);
            let query = Query { timeout: Duration::from_millis(400), ..Query::new(Kind::Ping, to.into()) };
            let outcome = world.client(from).ask(query).await?;
            let circled = matches!(&outcome.reply, Err(Failure::Other(why)) if why.contains("time to live"));
            ensure!(!circled, "from {}: {:?}", from.name(), outcome.reply);
        }
    }
    let packets = sent(world, "client")? - before;
    ensure!(packets < 60, "the gateway sent {packets} packets back");
    // And the tool itself works.
    let query = Query::new(Kind::Ping, (world.pod_address("local-pod", false)?, 0).into());
    let outcome = world.client(Position::PodSameNode).ask(query).await?;
    ensure!(outcome.name() == Some("ping"), "a pod's own address: {:?}", outcome.reply);
    Ok(())
}

async fn later_address(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    own.apply(&LATER.manifest("later", "selector: {app: remote-pod}", 8080, false))?;
    let to = frontend(world, Position::External, LATER, false);
    becomes(world, Position::External, to, REMOTE_POD.name).await?;
    let change = |what: &'static str| -> anyhow::Result<()> {
        for address in ["192.168.50.77/24", "fd00:50::77/64"] {
            let mut words = vec!["ip", "address", what, address, "dev", "eth0"];
            words.extend((what == "add").then_some("nodad"));
            let output = world.lab.run("node1", &words)?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    };
    change("add")?;
    let mut done = Ok(());
    for address in ["192.168.50.77", "fd00:50::77"] {
        let address: IpAddr = address.parse()?;
        for from in [Position::External, Position::PodSameNode] {
            done = done.and(becomes(world, from, (address, LATER.node_port()), REMOTE_POD.name).await);
        }
    }
    change("del")?;
    done?;
    becomes(world, Position::External, to, REMOTE_POD.name).await
}

async fn fragments(world: &World) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for v6 in [false, true] {
        for from in Position::ALL {
            for service in [LOCAL_POD, REMOTE_POD] {
                let to: SocketAddr = match from {
                    Position::External => (world.node_address(1, v6), service.node_port()).into(),
                    _ => (service.cluster_ip(v6), 80).into(),
                };
                // Three packets of the usual size, and more than twenty.
                for size in [4_000, 30_000] {
                    let query = Query { size, ..Query::new(Kind::Udp, to) };
                    let mut outcome = world.client(from).ask(query).await?;
                    if outcome.reply.is_err() {
                        // Nobody promises that a datagram arrives; and a sender is told once what a tunnel leaves room
                        // for.
                        outcome = world.client(from).ask(query).await?;
                    }
                    if outcome.name() != Some(service.name) {
                        wrong.push(format!("{size} bytes from {} to {to}: {:?}", from.name(), outcome.reply));
                    }
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    Ok(())
}

/// The pod takes another pod's address beside its own and asks from there.
async fn spoofed(world: &World) -> anyhow::Result<()> {
    let pod = "default/client-1";
    let mut wrong = Vec::new();
    for (v6, foreign) in [(false, "10.244.1.250/32"), (true, "fd00:10:244:1::fa/128")] {
        let run = |words: &[&str]| -> anyhow::Result<()> {
            let output = world.lab.run(pod, words)?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        };
        run(&["ip", "address", "add", foreign, "dev", "eth0", "nodad"])?;
        let before = counted(world)?;
        let address = foreign.split('/').next().context("no address")?;
        let to = (world.pod_address("local-pod", v6)?, 0);
        let query = Query {
            source: Some(address.parse()?),
            timeout: Duration::from_millis(400),
            ..Query::new(Kind::Ping, to.into())
        };
        let outcome = world.client(Position::PodSameNode).ask(query).await;
        let deleted = run(&["ip", "address", "del", foreign, "dev", "eth0"]);
        let (outcome, counts) = (outcome?, counted(world)? - before);
        deleted?;
        if outcome.reply.is_ok() || counts == 0 {
            wrong.push(format!("{foreign}: {counts} times counted, {:?}", outcome.reply));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    Ok(())
}

fn counted(world: &World) -> anyhow::Result<u64> {
    Ok(world.counts()?.get("spoofed-source").copied().unwrap_or_default())
}
