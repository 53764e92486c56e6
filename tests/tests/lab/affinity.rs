//! Session affinity.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use fairway_tests::traffic::{Kind, Load, Query};
use futures::FutureExt;

use super::own::{Own, becomes, frontend, names};
use super::services::Addresses;
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S63, S71
    ("every_client_sticks_to_one_backend", |world| sticks(world).boxed()),
    // S65, S69
    ("after_its_timeout_a_client_goes_elsewhere", |world| times_out(world).boxed()),
    // S64
    ("an_old_connection_does_not_prolong_affinity", |world| old_connection(world).boxed()),
    // S66
    ("affinity_comes_and_goes_on_a_live_service", |world| toggles(world).boxed()),
    // S67
    ("a_sticky_backend_that_is_gone_is_replaced_for_good", |world| replaced(world).boxed()),
    // S68
    ("affinity_outlives_the_agent", |world| outlives_agent(world).boxed()),
];

const STICKY: Addresses = Addresses(31);
const CLIENTS: [Position; 4] =
    [Position::PodSameNode, Position::NodeProcess, Position::HostPod, Position::External];

fn service(affinity: &str) -> String {
    STICKY.manifest("sticky", &format!("selector: {{app: pair}}\n  {affinity}"), 8080, false)
}

fn sticky(seconds: u32) -> String {
    service(&format!(
        "sessionAffinity: ClientIP\n  sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}"
    ))
}

/// Applied, and answering.
async fn begin<'a>(world: &'a World, text: &str) -> anyhow::Result<Own<'a>> {
    let mut own = Own::new(world);
    own.apply(&service("sessionAffinity: None"))?;
    for from in CLIENTS {
        both(world, from).await?;
    }
    own.apply(text)?;
    for from in CLIENTS {
        one(world, from).await?;
    }
    Ok(own)
}

async fn asked(world: &World, from: Position, count: u8) -> std::collections::BTreeSet<String> {
    names(world, from, frontend(world, from, STICKY, false), count).await
}

/// Waits until a client sees both backends.
async fn both(world: &World, from: Position) -> anyhow::Result<()> {
    let what = format!("{} reaches both", from.name());
    fairway_tests::eventually(&what, || asked(world, from, 12), |names| names.len() == 2).await?;
    Ok(())
}

/// Waits until a client sees one backend alone, and says which.
async fn one(world: &World, from: Position) -> anyhow::Result<String> {
    let what = format!("{} sticks", from.name());
    let names = fairway_tests::eventually(
        &what,
        || asked(world, from, 12),
        |names| names.len() == 1 && names.iter().all(|name| name.starts_with("pair-")),
    );
    Ok(names.await?.into_iter().next().unwrap_or_default())
}

async fn sticks(world: &World) -> anyhow::Result<()> {
    let _own = begin(world, &service("sessionAffinity: ClientIP")).await?;
    for from in CLIENTS {
        let names = asked(world, from, 30).await;
        ensure!(names.len() == 1, "{}: {names:?}", from.name());
    }
    Ok(())
}

/// Whether a client goes to another backend within a dozen time-outs of a second.
async fn leaves(world: &World, from: Position, first: &str) -> bool {
    for _ in 0..12 {
        // Time itself is what is tested: each new connection would start it anew.
        tokio::time::sleep(Duration::from_millis(1300)).await;
        if asked(world, from, 1).await.iter().any(|name| name != first) {
            return true;
        }
    }
    false
}

async fn times_out(world: &World) -> anyhow::Result<()> {
    let mut own = begin(world, &sticky(600)).await?;
    own.apply(&sticky(1))?;
    for from in [Position::PodSameNode, Position::External] {
        let first = one(world, from).await?;
        let elsewhere = leaves(world, from, &first).await;
        ensure!(elsewhere, "{} goes to {first} after a dozen time-outs", from.name());
    }
    Ok(())
}

async fn old_connection(world: &World) -> anyhow::Result<()> {
    let _own = begin(world, &sticky(1)).await?;
    let from = Position::PodOtherNode;
    let query = Query::new(Kind::Tcp, frontend(world, from, STICKY, false).into());
    let load = Load { query, every: Duration::from_millis(20), one_connection: true };
    let held = world.client(from).start_load(load).await?;
    let first = one(world, from).await?;
    // The packets of the held connection are the only ones meanwhile.
    let elsewhere = leaves(world, from, &first).await;
    let report = world.client(from).stop_load(held).await?;
    ensure!(elsewhere, "still {first}");
    ensure!(report.failed() == 0, "{report:?}");
    Ok(())
}

async fn toggles(world: &World) -> anyhow::Result<()> {
    let mut own = begin(world, &service("sessionAffinity: ClientIP")).await?;
    for _ in 0..2 {
        own.apply(&service("sessionAffinity: None"))?;
        for from in CLIENTS {
            both(world, from).await?;
        }
        own.apply(&service("sessionAffinity: ClientIP"))?;
        for from in CLIENTS {
            one(world, from).await?;
        }
    }
    Ok(())
}

async fn replaced(world: &World) -> anyhow::Result<()> {
    let _own = begin(world, &service("sessionAffinity: ClientIP")).await?;
    let from = Position::PodSameNode;
    let to = frontend(world, from, STICKY, false);
    let first = one(world, from).await?;
    let other = if first == "pair-1" { "pair-2" } else { "pair-1" };
    fs::remove_file(world.ready_file(&first))?;
    let moved = becomes(world, from, to, other).await;
    fs::write(world.ready_file(&first), "")?;
    moved?;
    // The first one is back once somebody is sent to it.
    for _ in 0..3 {
        both_of_pair(world).await?;
        let names = asked(world, from, 12).await;
        ensure!(names == std::collections::BTreeSet::from([other.to_owned()]), "afterwards: {names:?}");
    }
    Ok(())
}

async fn both_of_pair(world: &World) -> anyhow::Result<()> {
    super::behaviour::answered_by(world, Position::PodSameNode, &["pair-1", "pair-2"]).await
}

async fn outlives_agent(world: &World) -> anyhow::Result<()> {
    let _own = begin(world, &service("sessionAffinity: ClientIP")).await?;
    let mut before = Vec::new();
    for from in CLIENTS {
        before.push((from, one(world, from).await?));
    }
    world.lab.stop("node1", true)?;
    world.lab.start("node1")?;
    super::outage::wait_agent(&world.lab, "node1").await?;
    for (from, name) in before {
        let names = asked(world, from, 6).await;
        ensure!(names == std::collections::BTreeSet::from([name.clone()]), "{name}, then {names:?}");
    }
    Ok(())
}
