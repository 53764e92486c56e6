//! What changes of Services and endpoints do to traffic.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{bail, ensure};
use fairway_tests::eventually;
use fairway_tests::lab::SocketLb;
use fairway_tests::traffic::{Failure, Kind, Load, Query};
use futures::FutureExt;

use super::own::latest;
use super::services::{EMPTY, LOCAL_POLICY, PAIR};
use super::trial::Trial;
use super::world::{Position, World, pair};

pub(crate) const TRIALS: &[Trial] = &[
    // S31, S32, S33
    ("a_service_without_endpoints_refuses_at_once", |world| refused(world).boxed()),
    // S28, S24
    ("an_external_client_keeps_its_address_under_the_local_policy", |world| local_policy(world).boxed()),
    // S42
    ("new_connections_follow_readiness", |world| follow_readiness(world).boxed()),
    // S41
    ("an_established_connection_outlives_its_endpoint", |world| outlives(world).boxed()),
    // S104
    ("a_broken_manifest_keeps_the_old_state", |world| broken_manifest(world).boxed()),
];

async fn refused(world: &World) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for v6 in [false, true] {
        for from in Position::ALL {
            let outside = (world.node_address(2, v6), EMPTY.node_port());
            let inside = (EMPTY.cluster_ip(v6), 80);
            let frontends: &[(IpAddr, u16)] =
                if from == Position::External { &[outside] } else { &[inside, outside] };
            for to in frontends {
                for kind in [Kind::Tcp, Kind::Udp] {
                    let outcome = world.client(from).ask(Query::new(kind, (*to).into())).await?;
                    // A socket hook cannot make a datagram's error anything else.
                    let by_hook = kind == Kind::Udp && world.socket_lb != SocketLb::Off;
                    let expected = outcome.reply == Err(Failure::Refused)
                        || by_hook && outcome.reply == Err(Failure::NotPermitted);
                    if !expected {
                        wrong.push(format!("{kind:?} from {} to {to:?}: {:?}", from.name(), outcome.reply));
                    }
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    Ok(())
}

async fn local_policy(world: &World) -> anyhow::Result<()> {
    for v6 in [false, true] {
        for kind in [Kind::Tcp, Kind::Udp] {
            let here = (world.node_address(1, v6), LOCAL_POLICY.node_port());
            let outcome = world.client(Position::External).ask(Query::new(kind, here.into())).await?;
            match &outcome.reply {
                Ok(reply) if reply.client.ip() == world.client_address(v6) => {}
                other => bail!("{kind:?} to the node with the backend: {other:?}"),
            }
            let there = (world.node_address(2, v6), LOCAL_POLICY.node_port());
            let query = Query { timeout: Duration::from_millis(300), ..Query::new(kind, there.into()) };
            let outcome = world.client(Position::External).ask(query).await?;
            let dropped = outcome.reply == Err(Failure::TimedOut);
            ensure!(dropped, "{kind:?} to the node without a backend: {:?}", outcome.reply);
        }
    }
    Ok(())
}

/// Who answers forty new connections: as many as miss one of two backends in one of 500 thousand million cases.
pub(crate) async fn answering(world: &World, from: Position) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..40 {
        let name = world.ask_name(from, (PAIR.cluster_ip(false), 80)).await;
        names.insert(name.unwrap_or_else(|error| error.to_string()));
    }
    names
}

/// Waits until exactly these answer.
pub(crate) async fn answered_by(world: &World, from: Position, wanted: &[&str]) -> anyhow::Result<()> {
    let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
    let what = format!("new connections from {} go to {wanted:?}", from.name());
    eventually(&what, || answering(world, from), |names| *names == wanted).await?;
    Ok(())
}

async fn follow_readiness(world: &World) -> anyhow::Result<()> {
    for from in [Position::PodSameNode, Position::NodeProcess] {
        answered_by(world, from, &["pair-1", "pair-2"]).await?;
        let query = Query::new(Kind::Tcp, (PAIR.cluster_ip(false), 80).into());
        let load = Load { query, every: Duration::from_millis(10), one_connection: false };
        let running = world.client(from).start_load(load).await?;
        fs::remove_file(world.ready_file("pair-1"))?;
        let moved = answered_by(world, from, &["pair-2"]).await;
        fs::write(world.ready_file("pair-1"), "")?;
        moved?;
        answered_by(world, from, &["pair-1", "pair-2"]).await?;
        let report = world.client(from).stop_load(running).await?;
        ensure!(report.failed() == 0 && report.asked > 0, "{report:?}");
    }
    Ok(())
}

async fn outlives(world: &World) -> anyhow::Result<()> {
    for from in [Position::PodSameNode, Position::PodOtherNode, Position::External] {
        let kept = held_while_removed(world, from).await;
        world.lab.manifests().apply_text(&pair(&world.lab, 1, "pair"))?;
        ensure!(kept? > 0, "none of sixteen connections went to the endpoint that was removed");
        answered_by(world, Position::PodSameNode, &["pair-1", "pair-2"]).await?;
    }
    Ok(())
}

/// Holds connections while `pair-1` stops being an endpoint; how many of them end at it.
async fn held_while_removed(world: &World, from: Position) -> anyhow::Result<usize> {
    let to = match from {
        Position::External => (world.node_address(2, false), PAIR.node_port()),
        _ => (PAIR.cluster_ip(false), 80),
    };
    let query = Query::new(Kind::Tcp, to.into());
    let load = Load { query, every: Duration::from_millis(20), one_connection: true };
    // Several, so that at least one of them ends at the endpoint that goes.
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(world.client(from).start_load(load).await?);
    }
    for load in &held {
        latest(world, from, load, |name| name.starts_with("pair-")).await?;
    }
    answered_by(world, Position::PodSameNode, &["pair-1", "pair-2"]).await?;
    // The pod lives on, and only its label goes.
    world.lab.manifests().apply_text(&pair(&world.lab, 1, "nothing"))?;
    answered_by(world, Position::PodSameNode, &["pair-2"]).await?;
    let mut kept = 0;
    for load in held {
        let report = world.client(from).stop_load(load).await?;
        ensure!(report.failed() == 0 && report.answers.len() == 1, "from {}: {report:?}", from.name());
        kept += usize::from(report.answers.contains_key("pair-1"));
    }
    Ok(kept)
}

async fn broken_manifest(world: &World) -> anyhow::Result<()> {
    let path = world.lab.state.manifests().join("service.default.pair.yaml");
    let good = fs::read_to_string(&path)?;
    fs::write(&path, "apiVersion: v1\nkind: Service\nmetadata: {name: [broken\n")?;
    let status = || async { world.lab.status().map(|status| status.broken).unwrap_or_default() };
    let told = eventually("the broken file is named", status, |broken| !broken.is_empty()).await;
    let names = answering(world, Position::PodSameNode).await;
    // What comes after it is served.
    let pod = world.lab.manifests().apply_text(&pair(&world.lab, 1, "nothing"));
    let moved = answered_by(world, Position::PodSameNode, &["pair-2"]).await;
    world.lab.manifests().apply_text(&pair(&world.lab, 1, "pair"))?;
    fs::write(&path, good)?;
    told?;
    pod?;
    ensure!(names == BTreeSet::from(["pair-1".into(), "pair-2".into()]), "while it is broken: {names:?}");
    moved?;
    answered_by(world, Position::PodSameNode, &["pair-1", "pair-2"]).await
}
