//! What a Service's settings, and the shapes of traffic, do.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{bail, ensure};
use fairway_tests::eventually;
use fairway_tests::lab::SocketLb;
use fairway_tests::traffic::{Failure, Kind, Load, Outcome, Query};
use futures::FutureExt;

use super::own::latest;
use super::services::{CHANGING, CLOSED, INTERNAL_LOCAL, LOCAL_POD, LOCAL_POLICY, REMOTE_POD};
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S40
    ("a_refusal_of_the_backend_reaches_the_client", |world| closed_port(world).boxed()),
    // S22, S23
    ("the_internal_local_policy_uses_backends_of_the_node_alone", |world| internal_local(world).boxed()),
    // S25
    ("inside_the_cluster_the_external_local_policy_does_not_count", |world| short_circuit(world).boxed()),
    // S91
    ("a_v6_socket_reaches_a_v4_service", |world| mapped_address(world).boxed()),
    // S86
    ("large_requests_arrive_whole", |world| large_requests(world).boxed()),
    // S50
    ("clients_with_one_source_port_do_not_collide", |world| one_source_port(world).boxed()),
    // S49
    ("one_client_port_asks_a_service_and_its_pod_at_one_time", |world| both_ways(world).boxed()),
    // S95
    ("a_node_port_comes_and_goes_with_the_type", |world| type_changes(world).boxed()),
    // S96
    ("another_target_port_applies_to_new_connections", |world| target_port(world).boxed()),
];

/// No port that the kernel gives to clients or the data path to translated connections, and no node port.
const OWN_PORT: u16 = 31_500;

async fn ask(world: &World, from: Position, kind: Kind, to: (IpAddr, u16)) -> anyhow::Result<Outcome> {
    let query = Query { timeout: Duration::from_millis(800), ..Query::new(kind, to.into()) };
    Ok(world.client(from).ask(query).await?)
}

async fn answers(
    world: &World,
    from: Position,
    kind: Kind,
    to: (IpAddr, u16),
    name: &str,
) -> anyhow::Result<()> {
    let outcome = ask(world, from, kind, to).await?;
    let position = from.name();
    ensure!(outcome.name() == Some(name), "{kind:?} from {position} to {to:?}: {:?}", outcome.reply);
    Ok(())
}

async fn closed_port(world: &World) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for v6 in [false, true] {
        for from in Position::ALL {
            let outside = from == Position::External;
            let to = if outside {
                (world.node_address(2, v6), CLOSED.node_port())
            } else {
                (CLOSED.cluster_ip(v6), 80)
            };
            let outcome = ask(world, from, Kind::Tcp, to).await?;
            if outcome.reply != Err(Failure::Refused) {
                wrong.push(format!("from {} to {to:?}: {:?}", from.name(), outcome.reply));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    Ok(())
}

async fn internal_local(world: &World) -> anyhow::Result<()> {
    for v6 in [false, true] {
        let to = (INTERNAL_LOCAL.cluster_ip(v6), 80);
        for kind in [Kind::Tcp, Kind::Udp] {
            answers(world, Position::PodSameNode, kind, to, LOCAL_POD.name).await?;
            let elsewhere = ask(world, Position::PodOtherNode, kind, to).await?;
            match elsewhere.reply {
                // A socket hook can refuse, and cannot leave a client waiting.
                Err(Failure::TimedOut | Failure::NotPermitted) => {}
                other => bail!("{kind:?} on the node without a backend: {other:?}"),
            }
            let outside = (world.node_address(2, v6), INTERNAL_LOCAL.node_port());
            answers(world, Position::External, kind, outside, LOCAL_POD.name).await?;
        }
    }
    Ok(())
}

async fn short_circuit(world: &World) -> anyhow::Result<()> {
    for v6 in [false, true] {
        for kind in [Kind::Tcp, Kind::Udp] {
            let balancer = (LOCAL_POLICY.balancer_ip(v6), 80);
            let cluster = (LOCAL_POLICY.cluster_ip(v6), 80);
            for to in [balancer, cluster] {
                answers(world, Position::PodOtherNode, kind, to, LOCAL_POD.name).await?;
            }
        }
    }
    Ok(())
}

async fn mapped_address(world: &World) -> anyhow::Result<()> {
    for service in [LOCAL_POD, REMOTE_POD] {
        let IpAddr::V4(address) = service.cluster_ip(false) else { bail!("not IPv4") };
        let to = (address.to_ipv6_mapped().into(), 80);
        for kind in [Kind::Tcp, Kind::Udp, Kind::UdpUnconnected] {
            for from in [Position::PodSameNode, Position::NodeProcess] {
                let outcome = ask(world, from, kind, to).await?;
                let (name, reply, peer) = (outcome.name(), &outcome.reply, outcome.peer);
                ensure!(name == Some(service.name), "{kind:?} from {}: {reply:?}", from.name());
                ensure!(peer == Some(SocketAddr::from(to)), "{kind:?} from {}: peer {peer:?}", from.name());
            }
        }
    }
    Ok(())
}

async fn large_requests(world: &World) -> anyhow::Result<()> {
    for v6 in [false, true] {
        for from in Position::ALL {
            let to = match from {
                Position::External => (world.node_address(1, v6), REMOTE_POD.node_port()),
                _ => (REMOTE_POD.cluster_ip(v6), 80),
            };
            for (kind, size) in [(Kind::Tcp, 500_000), (Kind::Udp, 1_300)] {
                let outcome = world.client(from).ask(Query { size, ..Query::new(kind, to.into()) }).await?;
                let reply = &outcome.reply;
                ensure!(
                    reply.is_ok(),
                    "{kind:?} with {size} bytes from {} to {to:?}: {reply:?}",
                    from.name()
                );
            }
        }
    }
    Ok(())
}

async fn one_source_port(world: &World) -> anyhow::Result<()> {
    for v6 in [false, true] {
        let to = (world.node_address(2, v6), LOCAL_POD.node_port());
        let positions = [Position::External, Position::NodeProcess, Position::PodSameNode];
        for (kind, one_connection) in [(Kind::Tcp, true), (Kind::Udp, false)] {
            let query = Query { source_port: OWN_PORT, ..Query::new(kind, to.into()) };
            let load = Load { query, every: Duration::from_millis(5), one_connection };
            let mut running = Vec::new();
            for from in positions {
                running.push((from, world.client(from).start_load(load).await?));
            }
            // All of them have begun once another client was answered a few times.
            for _ in 0..20 {
                answers(world, Position::PodOtherNode, kind, to, LOCAL_POD.name).await?;
            }
            for (from, load) in running {
                let report = world.client(from).stop_load(load).await?;
                ensure!(report.failed() == 0, "{kind:?} from {}: {report:?}", from.name());
            }
        }
    }
    Ok(())
}

/// Two connections from one port, in either order. At a socket that is translated the kernel itself allows only one: both
/// would be connected to the pod.
async fn both_ways(world: &World) -> anyhow::Result<()> {
    if world.socket_lb != SocketLb::Off {
        return Ok(());
    }
    let from = Position::PodSameNode;
    // One that the kernel hands to nobody else.
    let mut source_port = 31_100;
    for v6 in [false, true] {
        for service in [LOCAL_POD, REMOTE_POD] {
            let by_service = (service.cluster_ip(v6), 80);
            let direct = (world.pod_address(service.name, v6)?, 8080);
            for order in [[by_service, direct], [direct, by_service]] {
                source_port += 1;
                let mut running = Vec::new();
                for to in order {
                    let query = Query { source_port, ..Query::new(Kind::Tcp, to.into()) };
                    let load = Load { query, every: Duration::from_millis(5), one_connection: true };
                    let load = world.client(from).start_load(load).await?;
                    latest(world, from, &load, |name| name == service.name).await?;
                    running.push((to, load));
                }
                // Both have spoken since the second began.
                for _ in 0..20 {
                    answers(world, from, Kind::Tcp, by_service, service.name).await?;
                }
                for (to, load) in running {
                    let report = world.client(from).stop_load(load).await?;
                    ensure!(report.failed() == 0, "{to:?} of {order:?}: {report:?}");
                }
            }
        }
    }
    Ok(())
}

async fn becomes(
    world: &World,
    from: Position,
    to: (IpAddr, u16),
    wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    let what = format!("from {} to {to:?}", from.name());
    eventually(&what, || world.ask_name(from, to), |name| name.as_ref().is_ok_and(|name| wanted(name)))
        .await??;
    Ok(())
}

async fn type_changes(world: &World) -> anyhow::Result<()> {
    let manifests = world.lab.manifests();
    let node_port = (world.node_address(2, false), CHANGING.node_port());
    let whole = CHANGING.manifest();
    becomes(world, Position::External, node_port, |name| name == REMOTE_POD.name).await?;
    let inner = whole.replace("type: LoadBalancer", "type: ClusterIP");
    let inner: String = inner.lines().map(|line| line.replace(&node_port_field(), "") + "\n").collect();
    manifests.apply_text(&inner)?;
    let gone = becomes(world, Position::External, node_port, |name| name == "Refused").await;
    let kept = becomes(world, Position::PodSameNode, (CHANGING.cluster_ip(false), 80), |name| {
        name == REMOTE_POD.name
    });
    let kept = kept.await;
    manifests.apply_text(&whole)?;
    gone.and(kept)?;
    becomes(world, Position::External, node_port, |name| name == REMOTE_POD.name).await
}

fn node_port_field() -> String {
    format!(", nodePort: {}", CHANGING.node_port())
}

async fn target_port(world: &World) -> anyhow::Result<()> {
    let to = (CHANGING.cluster_ip(true), 80);
    becomes(world, Position::PodSameNode, to, |name| name == REMOTE_POD.name).await?;
    let whole = CHANGING.manifest();
    world.lab.manifests().apply_text(&whole.replace("targetPort: 8080", "targetPort: 9"))?;
    let changed = becomes(world, Position::PodSameNode, to, |name| name == "Refused").await;
    world.lab.manifests().apply_text(&whole)?;
    changed?;
    becomes(world, Position::PodSameNode, to, |name| name == REMOTE_POD.name).await
}
