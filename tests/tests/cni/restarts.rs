//! What happens when the runtime or the agent stops.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use fairway_tests::runtime::Containerd;
use fairway_tests::traffic::{Kind, Load, Query, Runner};
use fairway_tests::trial::Trial;
use fairway_tests::{eventually, eventually_within};
use futures::FutureExt;

use super::chaos;
use super::held::Held;
use super::own::{OwnPod, wanted};
use super::world::{NODES, World, agent_ready, runtime_ready, service};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S116
    ("pods_live_on_when_their_runtime_is_killed_and_its_successor_ends_them", |w| runtime_killed(w).boxed()),
    // S103, S116
    ("pods_made_before_an_agent_was_killed_are_ended_by_its_successor", |w| agent_killed(w).boxed()),
    // S117
    ("a_pod_stopped_while_the_agent_is_away_is_gone_when_it_is_back", |world| {
        stopped_meanwhile(world).boxed()
    }),
    // S125
    ("a_runtime_has_its_network_when_the_agent_could_add_a_pod", |world| network_file(world).boxed()),
    // S116, S117, S118, S121, S122
    ("any_sequence_of_calls_crashes_and_reboots_leaves_what_the_calls_say", |world| {
        chaos::any_sequence(&world.choice).boxed()
    }),
    // S126
    ("a_pod_asked_for_while_the_agent_is_away_is_made_when_it_is_back", |w| agent_away(w).boxed()),
];

/// A steady stream of questions to the Service from the endpoint on node 2, while `job` runs.
async fn under_load(world: &World, job: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let client = Runner::start(&world.lab.place("default/web-node2")?)?;
    let every = Duration::from_millis(10);
    let query = Query::new(Kind::Tcp, service(false).into());
    let load = client.start_load(Load { query, every, one_connection: false }).await?;
    job.await?;
    let report = client.stop_load(load).await?;
    ensure!(report.failed() == 0 && report.asked > 0, "{report:?}");
    Ok(())
}

async fn runtime_killed(world: &World) -> anyhow::Result<()> {
    let before = Held::on(&world.lab, NODES[0])?;
    let pod = OwnPod::start(world, NODES[0], "outlives").await?;
    under_load(world, async {
        world.lab.stop("containerd-node1", true)?;
        world.lab.start("containerd-node1")?;
        runtime_ready(world, NODES[0]).await
    })
    .await?;
    let name = pod.name("tcp", service(true)).await;
    ensure!(name.starts_with("web-"), "after the restart: {name}");
    pod.end().await?;
    let after = Held::on(&world.lab, NODES[0])?;
    ensure!(after == before, "{after:?}, before {before:?}");
    Ok(())
}

async fn agent_killed(world: &World) -> anyhow::Result<()> {
    let before = Held::on(&world.lab, NODES[0])?;
    let pod = OwnPod::start(world, NODES[0], "outlives-agent").await?;
    under_load(world, async {
        world.lab.stop(NODES[0], true)?;
        let name = pod.name("tcp", service(false)).await;
        ensure!(name.starts_with("web-"), "without the agent: {name}");
        world.lab.start(NODES[0])?;
        agent_ready(&world.lab, NODES[0]).await
    })
    .await?;
    let later = OwnPod::start(world, NODES[0], "after-agent").await?;
    ensure!(later.addresses.iter().all(|address| !pod.addresses.contains(address)), "an address twice");
    pod.end().await?;
    later.end().await?;
    let after = Held::on(&world.lab, NODES[0])?;
    ensure!(after == before, "{after:?}, before {before:?}");
    Ok(())
}

async fn agent_away(world: &World) -> anyhow::Result<()> {
    world.lab.stop(NODES[0], false)?;
    let (cri, pod) = (world.cri(NODES[0]).await?, wanted(world, NODES[0], "waits"));
    // As a kubelet: an agent that has only just started may say that it is too early.
    let ask = || async { OwnPod::start_as(cri.clone(), &pod).await.map_err(|error| format!("{error:#}")) };
    let asked = eventually_within(Duration::from_secs(60), "the pod is made", ask, Result::is_ok);
    let (started, pod) = tokio::join!(async { world.lab.start(NODES[0]) }, asked);
    started?;
    let pod = pod?.map_err(anyhow::Error::msg)?;
    let name = pod.name("tcp", service(false)).await;
    ensure!(name.starts_with("web-"), "{name}");
    pod.end().await
}

async fn stopped_meanwhile(world: &World) -> anyhow::Result<()> {
    let before = Held::on(&world.lab, NODES[0])?;
    let pod = OwnPod::start(world, NODES[0], "stopped-meanwhile").await?;
    world.lab.stop(NODES[0], false)?;
    let ended = pod.end().await;
    world.lab.start(NODES[0])?;
    agent_ready(&world.lab, NODES[0]).await?;
    ended?;
    let after = || async { Held::on(&world.lab, NODES[0]).map_err(|error| format!("{error:#}")) };
    eventually("nothing is left of it", after, |after| after.as_ref() == Ok(&before)).await?.ok();
    Ok(())
}

async fn network_file(world: &World) -> anyhow::Result<()> {
    let file = Containerd::of(&world.lab.state, NODES[0]).network_file();
    world.lab.stop(NODES[0], false)?;
    ensure!(file.exists(), "the agent that ended took `{}` along", file.display());
    runtime_ready(world, NODES[0]).await?;
    fs::remove_file(&file)?;
    let cri = world.cri(NODES[0]).await?;
    let ready = || async { cri.ready().await.map_err(|error| error.to_string()) };
    eventually("the runtime misses its network", ready, Result::is_err).await?.ok();
    world.lab.start(NODES[0])?;
    eventually_within(Duration::from_secs(60), "the runtime has its network", ready, Result::is_ok)
        .await?
        .ok();
    // At once: what the runtime took for ready is ready.
    let pod = OwnPod::start(world, NODES[0], "after-network").await?;
    pod.end().await
}
