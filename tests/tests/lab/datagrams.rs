//! Clients that keep one UDP socket open while the Service behind it changes.

use std::time::Duration;

use anyhow::ensure;
use fairway_tests::eventually;
use fairway_tests::lab::server_pod;
use fairway_tests::traffic::{Kind, Load, LoadReport, Query, RunningLoad};
use futures::FutureExt;

use super::outage::wait_agent;
use super::own::{Own, becomes, frontend, latest, one_socket};
use super::services::{Addresses, PAIR};
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S54, S58, S61
    ("a_socket_that_stays_open_follows_the_service_to_another_pod", |world| pod_cycles(world).boxed()),
    // S55
    ("a_socket_that_was_there_first_reaches_the_first_endpoint", |world| client_first(world).boxed()),
    // S56
    ("another_target_port_ends_flows_to_the_old_one", |world| target_port(world).boxed()),
    // S61
    ("a_connected_socket_older_than_the_agent_is_ended_when_its_backend_goes", |world| older(world).boxed()),
    // S62
    ("the_datagrams_of_one_unconnected_socket_stay_with_one_backend", |world| one_backend(world).boxed()),
    // S58
    ("a_service_that_lost_its_endpoints_lets_go_of_its_flows", |world| loses_all(world).boxed()),
];

const CYCLE: Addresses = Addresses(30);
const CLIENTS: [Position; 4] =
    [Position::PodSameNode, Position::PodOtherNode, Position::NodeProcess, Position::External];

struct Sockets(Vec<(Position, RunningLoad)>);

impl Sockets {
    async fn open(world: &World) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for from in CLIENTS {
            for kind in [Kind::Udp, Kind::UdpUnconnected] {
                let to = frontend(world, from, CYCLE, false);
                all.push((from, one_socket(world, from, kind, to).await?));
            }
        }
        Ok(Self(all))
    }

    async fn all(&self, world: &World, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        for (from, load) in &self.0 {
            latest(world, *from, load, &wanted).await?;
        }
        Ok(())
    }

    async fn close(self, world: &World) -> anyhow::Result<()> {
        for (from, load) in self.0 {
            world.client(from).stop_load(load).await?;
        }
        Ok(())
    }
}

fn service(selector: &str) -> String {
    CYCLE.manifest("cycle", &format!("selector: {{app: {selector}}}"), 8080, false)
}

fn backend(name: &str) -> String {
    server_pod(name, "node1", "app: cycle")
}

async fn pod_cycles(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    own.apply(&(service("cycle") + &backend("cycle-1")))?;
    becomes(world, Position::PodOtherNode, frontend(world, Position::PodOtherNode, CYCLE, false), "cycle-1")
        .await?;
    let sockets = Sockets::open(world).await?;
    let first = sockets.all(world, |latest| latest == "cycle-1").await;
    own.remove("Pod", "cycle-1")?;
    own.apply(&backend("cycle-2"))?;
    let second = sockets.all(world, |latest| latest == "cycle-2").await;
    sockets.close(world).await?;
    first.and(second)
}

/// Clients whose sockets connect while no agent runs: the one that comes knows them by what the kernel holds.
async fn older(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    own.apply(&(service("cycle") + &backend("cycle-1")))?;
    let clients = [Position::PodSameNode, Position::NodeProcess];
    for from in clients {
        becomes(world, from, frontend(world, from, CYCLE, false), "cycle-1").await?;
    }
    world.lab.stop("node1", true)?;
    let mut sockets = Sockets(Vec::new());
    for (from, v6) in clients.into_iter().flat_map(|from| [(from, false), (from, true)]) {
        let to = frontend(world, from, CYCLE, v6);
        sockets.0.push((from, one_socket(world, from, Kind::Udp, to).await?));
    }
    let first = sockets.all(world, |latest| latest == "cycle-1").await;
    world.lab.start("node1")?;
    let ready = wait_agent(&world.lab, "node1").await;
    own.remove("Pod", "cycle-1")?;
    own.apply(&backend("cycle-2"))?;
    let second = sockets.all(world, |latest| latest == "cycle-2").await;
    sockets.close(world).await?;
    first.and(ready).and(second)
}

/// A hundred datagrams of a socket: by chance they meet one of two backends in one of 2^99 cases.
async fn one_backend(world: &World) -> anyhow::Result<()> {
    for from in CLIENTS {
        for v6 in [false, true] {
            let to = match from {
                Position::External => (world.node_address(1, v6), PAIR.node_port()),
                _ => (PAIR.cluster_ip(v6), 80),
            };
            let query = Query::new(Kind::UdpUnconnected, to.into());
            let load = Load { query, every: Duration::from_millis(2), one_connection: true };
            let running = world.client(from).start_load(load).await?;
            let look =
                || async { world.client(from).look(&running).await.map_err(|error| error.to_string()) };
            let many = |report: &Result<LoadReport, String>| report.as_ref().is_ok_and(|it| it.asked >= 100);
            let asked = eventually("a hundred datagrams", look, many).await;
            let report = world.client(from).stop_load(running).await?;
            asked?.ok();
            ensure!(report.answers.len() == 1 && report.failed() == 0, "from {}: {report:?}", from.name());
        }
    }
    Ok(())
}

async fn client_first(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    own.apply(&service("cycle"))?;
    becomes(world, Position::PodOtherNode, frontend(world, Position::PodOtherNode, CYCLE, false), "Refused")
        .await?;
    let sockets = Sockets::open(world).await?;
    let refused = sockets.all(world, |latest| !latest.is_empty() && latest != "cycle-1").await;
    own.apply(&backend("cycle-1"))?;
    let answered = sockets.all(world, |latest| latest == "cycle-1").await;
    sockets.close(world).await?;
    refused.and(answered)
}

async fn target_port(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let two = backend("cycle-1")
        + "    - name: other\n      image: fairway-lab\n      \
           command: [fairway-lab, serve, --name, other-port, --udp, \"8081\", --tcp, \"8081\"]\n";
    own.apply(&(service("cycle") + &two))?;
    becomes(world, Position::PodOtherNode, frontend(world, Position::PodOtherNode, CYCLE, false), "cycle-1")
        .await?;
    let sockets = Sockets::open(world).await?;
    let first = sockets.all(world, |latest| latest == "cycle-1").await;
    own.apply(&service("cycle").replace("targetPort: 8080", "targetPort: 8081"))?;
    let second = sockets.all(world, |latest| latest == "other-port").await;
    sockets.close(world).await?;
    first.and(second)
}

/// The pod lives on and would answer, so that only an end of the flow keeps the socket from it.
async fn loses_all(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    own.apply(&(service("cycle") + &backend("cycle-1")))?;
    let to = frontend(world, Position::PodOtherNode, CYCLE, false);
    becomes(world, Position::PodOtherNode, to, "cycle-1").await?;
    let sockets = Sockets::open(world).await?;
    let mut done = sockets.all(world, |latest| latest == "cycle-1").await;
    own.apply(&service("nobody"))?;
    done = done.and(sockets.all(world, |latest| latest != "cycle-1").await);
    own.apply(&service("cycle"))?;
    done = done.and(sockets.all(world, |latest| latest == "cycle-1").await);
    own.remove("Service", "cycle")?;
    done = done.and(sockets.all(world, |latest| latest != "cycle-1").await);
    sockets.close(world).await?;
    let pods = || async { world.lab.status().map_or(0, |status| status.pods.len()) };
    drop(own);
    eventually("the pod ends", pods, |count| *count == 8).await?;
    done
}
