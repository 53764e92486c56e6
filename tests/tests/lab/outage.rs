//! What happens when parts of Fairway stop.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use fairway_tests::lab::{Families, Lab, Running, SocketLb, State, clean_stale, labs};
use fairway_tests::traffic::{Kind, Load, Query};
use fairway_tests::{eventually, eventually_within};
use futures::FutureExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::behaviour::{answered_by, answering};
use super::services::{LOCAL_POD, REMOTE_POD};
use super::trial::Trial;
use super::world::{Position, World, pair};

pub(crate) const TRIALS: &[Trial] = &[
    // S103, S41
    ("a_killed_agent_costs_no_connection_and_its_successor_takes_over", |world| agent_killed(world).boxed()),
    // S104
    ("an_agent_serves_from_disk_while_the_control_plane_is_away", |world| from_disk(world).boxed()),
    ("a_second_agent_on_a_node_is_refused", |world| second_agent(world).boxed()),
    // S21
    ("an_agent_that_masquerades_all_shows_the_node", |world| masquerades(world).boxed()),
    // S104
    ("a_killed_agent_does_not_go_back_to_an_older_state", |world| no_older_state(world).boxed()),
    ("a_lab_whose_keeper_died_is_cleaned_up", |_| stale_lab().boxed()),
];

pub(crate) async fn wait_agent(lab: &Lab, node: &str) -> anyhow::Result<()> {
    let limit = Duration::from_secs(60);
    let ready = || async { lab.agent_health(node).map_err(|error| error.to_string()) };
    eventually_within(limit, "the agent is ready", ready, |status| *status == Ok(200)).await?.ok();
    Ok(())
}

async fn agent_killed(world: &World) -> anyhow::Result<()> {
    let mut running = Vec::new();
    let frontends = [
        (Position::PodSameNode, (LOCAL_POD.cluster_ip(false), 80)),
        (Position::PodSameNode, (REMOTE_POD.cluster_ip(true), 80)),
        (Position::NodeProcess, (REMOTE_POD.cluster_ip(false), 80)),
        (Position::External, (world.node_address(1, false), REMOTE_POD.node_port())),
        (Position::External, (world.node_address(1, true), LOCAL_POD.node_port())),
    ];
    for (from, to) in frontends {
        for (kind, one_connection) in [(Kind::Tcp, false), (Kind::Tcp, true), (Kind::Udp, false)] {
            let load =
                Load { query: Query::new(kind, to.into()), every: Duration::from_millis(10), one_connection };
            running.push((from, to, kind, one_connection, world.client(from).start_load(load).await?));
        }
    }
    world.lab.stop("node1", true)?;
    // A while without any agent: as long as it takes to make a hundred connections.
    for _ in 0..100 {
        world.ask_name(Position::PodSameNode, (REMOTE_POD.cluster_ip(false), 80)).await?;
    }
    world.lab.start("node1")?;
    let taken_over = wait_agent(&world.lab, "node1").await;
    let mut wrong = Vec::new();
    for (from, to, kind, one_connection, load) in running {
        let report = world.client(from).stop_load(load).await?;
        if report.failed() > 0 || report.asked < 10 {
            let how = if one_connection { "one connection" } else { "new connections" };
            wrong.push(format!("{kind:?} from {} to {to:?}, {how}: {report:?}", from.name()));
        }
    }
    taken_over?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    Ok(())
}

async fn from_disk(world: &World) -> anyhow::Result<()> {
    let lab = &world.lab;
    lab.stop("control", false)?;
    lab.stop("node1", false)?;
    // As after a reboot: nothing is left in the kernel.
    fs::remove_dir_all(lab.state.pins(Some("node1"))).context("pins")?;
    lab.start("node1")?;
    let mut served = Ok(());
    for (service, v6) in [(LOCAL_POD, false), (REMOTE_POD, true)] {
        for from in [Position::PodSameNode, Position::External] {
            let to = match from {
                Position::External => (world.node_address(1, v6), service.node_port()),
                _ => (service.cluster_ip(v6), 80),
            };
            let what = format!("{} from {} without a control plane", service.name, from.name());
            let asked = eventually(
                &what,
                || world.ask_name(from, to),
                |name| name.as_deref().ok() == Some(service.name),
            );
            served = served.and(asked.await.map(drop));
        }
    }
    lab.start("control")?;
    served?;
    wait_agent(lab, "node1").await
}

async fn no_older_state(world: &World) -> anyhow::Result<()> {
    let lab = &world.lab;
    let mut moved = Ok(());
    // Three changes in a row, so that one comes right after another was saved.
    for (app, names) in
        [("nothing", &["pair-2"][..]), ("pair", &["pair-1", "pair-2"]), ("nothing", &["pair-2"])]
    {
        lab.manifests().apply_text(&pair(lab, 1, app))?;
        moved = moved.and(answered_by(world, Position::PodSameNode, names).await);
    }
    // Right after the change has come into force, and with nobody there who could tell it again.
    lab.stop("node1", true)?;
    lab.stop("control", true)?;
    lab.start("node1")?;
    let ready = wait_agent(lab, "node1").await;
    let names = answering(world, Position::PodSameNode).await;
    lab.start("control")?;
    lab.manifests().apply_text(&pair(lab, 1, "pair"))?;
    moved.and(ready)?;
    ensure!(names == BTreeSet::from(["pair-2".into()]), "the next agent serves {names:?}");
    answered_by(world, Position::PodSameNode, &["pair-1", "pair-2"]).await
}

/// The command of node1's agent, which runs.
fn agent_of_node1(world: &World) -> anyhow::Result<tokio::process::Command> {
    let (arguments, settings) = world.lab.process("node1")?;
    let mut command = tokio::process::Command::from(world.lab.command("node1", "fairway-agent")?);
    command.args(arguments).envs(settings).kill_on_drop(true);
    Ok(command)
}

/// By packets, everyone is seen as the node; a translated socket has no packet that could be masqueraded.
async fn masquerades(world: &World) -> anyhow::Result<()> {
    if world.socket_lb != SocketLb::Off {
        return Ok(());
    }
    let mut command = agent_of_node1(world)?;
    command.arg("--masquerade-all").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    world.lab.stop("node1", false)?;
    let mut agent = command.spawn()?;
    let mut done = wait_agent(&world.lab, "node1").await;
    for v6 in [false, true] {
        for service in [LOCAL_POD, REMOTE_POD] {
            let query = Query::new(Kind::Tcp, (service.cluster_ip(v6), 80).into());
            let asked = || async {
                let outcome = world.client(Position::PodSameNode).ask(query).await.ok()?;
                outcome.reply.ok().map(|reply| reply.client.ip())
            };
            let node = Some(world.node_address(1, v6));
            let what = format!("{} sees the node", service.name);
            done = done.and(eventually(&what, asked, |seen| *seen == node).await.map(drop));
        }
    }
    agent.kill().await?;
    world.lab.start("node1")?;
    wait_agent(&world.lab, "node1").await?;
    done
}

async fn second_agent(world: &World) -> anyhow::Result<()> {
    let mut command = agent_of_node1(world)?;
    let output = tokio::time::timeout(Duration::from_secs(10), command.output()).await;
    let output = output.context("it runs on beside the first")??;
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    ensure!(!output.status.success(), "it ended with success: {said}");
    ensure!(said.contains("already") || said.contains("another"), "it does not say why: {said}");
    ensure!(world.lab.status()?.processes.iter().all(|process| process.pid.is_some()), "the first one ended");
    let name = world.ask_name(Position::PodSameNode, (REMOTE_POD.cluster_ip(false), 80)).await?;
    ensure!(name == REMOTE_POD.name, "afterwards: {name}");
    Ok(())
}

async fn stale_lab() -> anyhow::Result<()> {
    let lab = Running::up(State::of_this_process("suite-dead", 1, Families::Ipv4, SocketLb::Off)).await?;
    let id = &lab.state.id;
    let keeper = lab.state.keeper.context("no keeper")?;
    kill(Pid::from_raw(keeper.pid.try_into()?), Signal::SIGKILL)?;
    eventually("the keeper ends", || async { keeper.alive() }, |alive| !alive).await?;
    let problems: Vec<_> = clean_stale().into_iter().filter(|(other, _)| other == id).collect();
    ensure!(problems.is_empty(), "{problems:?}");
    ensure!(labs().iter().all(|other| other.id != *id), "the state is still there");
    let left = fs::read_dir("/run/netns")?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&lab.state.prefix()));
    ensure!(left.count() == 0, "namespaces are left");
    ensure!(!lab.state.cgroup()?.path().exists(), "the cgroup is left");
    ensure!(!lab.state.pins(None).exists(), "pins are left");
    Ok(())
}
