//! Clients that keep one UDP socket open while the Service behind it changes.

use fairway_tests::eventually;
use fairway_tests::traffic::{Kind, RunningLoad};
use futures::FutureExt;

use super::own::{Own, becomes, frontend, latest, one_socket};
use super::services::{Addresses, TCP_PROBE, pod};
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S54, S58, S61
    ("a_socket_that_stays_open_follows_the_service_to_another_pod", |world| pod_cycles(world).boxed()),
    // S55
    ("a_socket_that_was_there_first_reaches_the_first_endpoint", |world| client_first(world).boxed()),
    // S56
    ("another_target_port_ends_flows_to_the_old_one", |world| target_port(world).boxed()),
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
    pod(name, "cycle", "node1", "", TCP_PROBE)
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
