//! Two control planes over the same manifests, of which one is lost.

use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fairway_tests::eventually_within;
use fairway_tests::lab::{Manifests, State};
use fairway_tests::traffic::{Kind, Load, Query, RunningLoad};
use futures::FutureExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::outage::wait_agent;
use super::own::{becomes, frontend, name};
use super::programs::metrics;
use super::services::{Addresses, LOCAL_POD, REMOTE_POD};
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S104
    ("a_control_plane_that_is_killed_or_silent_is_replaced_by_the_next_without_a_write", |world| {
        replaced(world).boxed()
    }),
];

const SERVICE: Addresses = Addresses(60);
/// Far above the two seconds that it takes: the machine may be busy.
const LIMIT: Duration = Duration::from_secs(20);

/// A control plane of the trial's own.
struct Replica {
    name: String,
    socket: PathBuf,
    process: Child,
}

impl Replica {
    fn start(world: &World, manifests: &Manifests, name: &str) -> anyhow::Result<Self> {
        let socket = world.lab.state.directory().join(format!("{name}.sock"));
        let process = Self::spawn(world, manifests, name, &socket)?;
        Ok(Self { name: name.to_owned(), socket, process })
    }

    fn spawn(world: &World, manifests: &Manifests, name: &str, socket: &Path) -> anyhow::Result<Child> {
        let mut command = Command::from(world.lab.command("node1", "fairway-control")?);
        command.arg("--manifests").arg(manifests.directory());
        command.arg("--listen").arg(format!("unix://{}", socket.display()));
        let log = File::options().create(true).append(true).open(world.lab.state.log(name))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        Ok(command.spawn()?)
    }

    /// Starts it again, and waits until agents can connect.
    async fn restart(&mut self, world: &World, manifests: &Manifests) -> anyhow::Result<()> {
        self.process = Self::spawn(world, manifests, &self.name, &self.socket)?;
        let listens = || async { UnixStream::connect(&self.socket).await.is_ok() };
        eventually_within(LIMIT, "the control plane listens", listens, |listens| *listens).await?;
        Ok(())
    }

    fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.process.id().context("it does not run")?;
        Ok(kill(Pid::from_raw(pid.try_into()?), signal)?)
    }
}

/// One Service with an endpoint on each node, and the nodes: nothing that agents would have to tell.
fn manifests(world: &World) -> anyhow::Result<Manifests> {
    let lab = &world.lab.state;
    let manifests = Manifests::new(lab.directory().join("replicas"), lab.plan);
    manifests.add_nodes()?;
    let mut text = SERVICE.manifest("replicated", "", 8080, false);
    for (pod, node) in [(LOCAL_POD, "node1"), (REMOTE_POD, "node2")] {
        for (v6, family) in [(false, "IPv4"), (true, "IPv6")] {
            let address = world.pod_address(pod.name, v6)?;
            let name = format!("replicated-{node}-{}", family.to_lowercase());
            text += &slice(&name, family, node, address);
        }
    }
    manifests.apply_text(&text)?;
    Ok(manifests)
}

fn slice(name: &str, family: &str, node: &str, address: IpAddr) -> String {
    format!(
        r#"---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: replicated}}}}
addressType: {family}
ports: [{{name: tcp, protocol: TCP, port: 8080}}, {{name: udp, protocol: UDP, port: 8080}}]
endpoints: [{{addresses: ["{address}"], nodeName: {node}}}]
"#
    )
}

/// Gives node1's agent another list of control planes; none: the lab's own.
async fn restart_agent(world: &World, control: Option<String>) -> anyhow::Result<()> {
    let mut state = State::load(&world.lab.state.id)?;
    state.settings.remove("control");
    state.settings.extend(control.map(|control| ("control".into(), control)));
    state.save()?;
    world.lab.stop("node1", false)?;
    world.lab.start("node1")?;
    wait_agent(&world.lab, "node1").await
}

/// What `fairway status` says of node1's control plane.
fn status(world: &World) -> anyhow::Result<String> {
    let output = world.lab.run("node1", &["fairway", "status", "-o", "json"])?;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let lines = status["subsystems"].as_array().context("no subsystems")?;
    let line = lines.iter().find(|line| line["name"] == "control-plane").context("no control plane")?;
    Ok(line["text"].as_str().unwrap_or_default().to_owned())
}

/// Waits until the agent is connected to this one and to no other; returns how long it took.
async fn connected(world: &World, replica: &Replica, other: &Replica) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let wanted = format!("{} (others: {}), connected", replica.address(), other.address());
    let look = || async { status(world).unwrap_or_else(|error| format!("{error:#}")) };
    eventually_within(LIMIT, "the control plane in use", look, |text| text.starts_with(&wanted)).await?;
    Ok(start.elapsed())
}

/// Writes to the maps so far.
fn writes(world: &World) -> anyhow::Result<String> {
    let page = metrics(world)?;
    let line = page.lines().find(|line| line.starts_with("fairway_table_writes_total "));
    Ok(line.context("no count of writes")?.to_owned())
}

async fn start_loads(world: &World) -> anyhow::Result<Vec<(Position, RunningLoad)>> {
    let mut loads = Vec::new();
    for (from, one_connection) in [
        (Position::PodSameNode, false),
        (Position::PodSameNode, true),
        (Position::External, false),
        (Position::External, true),
    ] {
        let to = frontend(world, from, SERVICE, false);
        let query = Query::new(Kind::Tcp, to.into());
        let load = Load { query, every: Duration::from_millis(10), one_connection };
        loads.push((from, world.client(from).start_load(load).await?));
    }
    Ok(loads)
}

async fn replaced(world: &World) -> anyhow::Result<()> {
    let manifests = manifests(world)?;
    let a = Replica::start(world, &manifests, "replica-a")?;
    let b = Replica::start(world, &manifests, "replica-b")?;
    let list = format!("{},{}", a.address(), b.address());
    let mut outcome = restart_agent(world, Some(list)).await;
    if outcome.is_ok() {
        outcome = lose_them(world, &manifests, a, b).await;
    }
    restart_agent(world, None).await?;
    for (service, from) in [(LOCAL_POD, Position::PodSameNode), (REMOTE_POD, Position::External)] {
        let to = match from {
            Position::External => (world.node_address(1, false), service.node_port()),
            _ => (service.cluster_ip(false), 80),
        };
        becomes(world, from, to, service.name).await?;
    }
    outcome
}

async fn lose_them(world: &World, manifests: &Manifests, a: Replica, b: Replica) -> anyhow::Result<()> {
    for (from, v6) in [(Position::PodSameNode, false), (Position::External, true)] {
        let to = frontend(world, from, SERVICE, v6);
        let asked = || name(world, from, to);
        let answers = |name: &String| [LOCAL_POD.name, REMOTE_POD.name].contains(&name.as_str());
        eventually_within(LIMIT, "the replicas' Service", asked, answers).await?;
    }
    let (mut one, mut other) = if status(world)?.starts_with(&a.address()) { (a, b) } else { (b, a) };
    connected(world, &one, &other).await?;
    let before = writes(world)?;
    let loads = start_loads(world).await?;
    one.process.kill().await?;
    let killed = connected(world, &other, &one).await;
    if killed.is_ok() {
        one.restart(world, manifests).await?;
    }
    // It takes connections and says nothing, not even that it is gone.
    other.signal(Signal::SIGSTOP)?;
    let silent = connected(world, &one, &other).await;
    other.process.kill().await?;
    let mut wrong = Vec::new();
    for (from, load) in loads {
        let report = world.client(from).stop_load(load).await?;
        if report.failed() > 0 || report.asked < 10 {
            wrong.push(format!("from {}: {report:?}", from.name()));
        }
    }
    println!("      connected to the other {:.2?} after a kill, {:.2?} after a stop", killed?, silent?);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    ensure!(writes(world)? == before, "{before}, then {}", writes(world)?);
    Ok(())
}
