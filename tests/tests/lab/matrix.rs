//! The matrix: protocol, family, socket hooks, client, frontend, backend. Each cell is a request from that client; the
//! answer must come from the right backend, show the right client, and seem to come from the Service.

use std::fmt;
use std::net::SocketAddr;

use anyhow::{bail, ensure};
use fairway_tests::eventually;
use fairway_tests::lab::SocketLb;
use fairway_tests::traffic::{Kind, Outcome, Query};
use futures::StreamExt;

use super::Tally;
use super::services::{self, Service};
use super::world::{Position, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frontend {
    ClusterIp,
    NodePortLocal,
    NodePortRemote,
    BalancerIp,
    ExternalIp,
    PodIp,
}

impl Frontend {
    const ALL: [(Self, &'static str); 6] = [
        (Self::ClusterIp, "cluster-ip"),
        (Self::NodePortLocal, "node-port-local"),
        (Self::NodePortRemote, "node-port-remote"),
        (Self::BalancerIp, "lb-ip"),
        (Self::ExternalIp, "external-ip"),
        (Self::PodIp, "pod-ip"),
    ];
}

const BACKENDS: [&str; 5] =
    ["local-pod", "remote-pod", "host-network", "host-network-remote", "client-itself"];

#[derive(Clone, Copy, Debug)]
struct Cell {
    udp: bool,
    v6: bool,
    client: Position,
    frontend: (Frontend, &'static str),
    backend: &'static str,
}

impl Cell {
    fn all() -> impl Iterator<Item = Self> {
        let bools = [false, true];
        bools.into_iter().flat_map(move |udp| {
            bools.into_iter().flat_map(move |v6| {
                Position::ALL.into_iter().flat_map(move |client| {
                    Frontend::ALL.into_iter().flat_map(move |frontend| {
                        BACKENDS.into_iter().map(move |backend| Self { udp, v6, client, frontend, backend })
                    })
                })
            })
        })
    }

    fn name(self, sockets: &str) -> String {
        let protocol = if self.udp { "udp" } else { "tcp" };
        let family = if self.v6 { "v6" } else { "v4" };
        let (client, frontend, backend) = (self.client.name(), self.frontend.1, self.backend);
        format!("{protocol}/{family}/{sockets}/{client}/{frontend}/{backend}")
    }

    /// Why there is no such case.
    fn not_applicable(self, sockets: &str) -> Option<&'static str> {
        let itself = self.backend == "client-itself";
        match (self.client, self.frontend.0) {
            (Position::External, Frontend::ClusterIp) => {
                Some("ClusterIPs are not routed outside the cluster")
            }
            (Position::External, Frontend::PodIp) => Some("pod addresses are not routed outside the cluster"),
            (Position::NodeProcess, _) if itself => {
                Some("a process of the node as its own backend is the host-network cell")
            }
            (Position::NodeProcess, Frontend::NodePortLocal) if sockets == "sockets-off" => Some(
                "a node's packets to its own address stay on lo, where no program is: needs --socket-lb host",
            ),
            (_, Frontend::PodIp) if itself => Some("a pod's own address never leaves the pod"),
            _ => None,
        }
    }

    fn service(self) -> Service {
        match (self.backend, self.client) {
            ("local-pod", _) => services::LOCAL_POD,
            ("remote-pod", _) => services::REMOTE_POD,
            ("host-network", _) => services::HOST,
            ("host-network-remote", _) => services::HOST_REMOTE,
            (_, Position::PodSameNode) => services::CLIENT_1,
            (_, Position::PodOtherNode) => services::CLIENT_2,
            _ => services::CLIENT_OUTSIDE,
        }
    }

    fn address(self, world: &World) -> anyhow::Result<SocketAddr> {
        let (service, v6) = (self.service(), self.v6);
        Ok(match self.frontend.0 {
            Frontend::ClusterIp => (service.cluster_ip(v6), 80),
            Frontend::NodePortLocal => (world.node_address(1, v6), service.node_port()),
            Frontend::NodePortRemote => (world.node_address(2, v6), service.node_port()),
            Frontend::BalancerIp => (service.balancer_ip(v6), 80),
            Frontend::ExternalIp => (service.external_ip(v6), 80),
            Frontend::PodIp => (world.pod_address(service.name, v6)?, 8080),
        }
        .into())
    }

    async fn run(self, world: &World) -> anyhow::Result<()> {
        let to = self.address(world)?;
        let kinds: &[Kind] = if self.udp { &[Kind::Udp, Kind::UdpUnconnected] } else { &[Kind::Tcp] };
        for kind in kinds {
            // The second request meets what the first has left in the tables.
            for _ in 0..2 {
                let outcome = world.client(self.client).ask(Query::new(*kind, to)).await?;
                if let Err(error) = self.check(world, to, &outcome) {
                    bail!("{kind:?} to {to}: {error}");
                }
            }
        }
        Ok(())
    }

    fn check(self, world: &World, to: SocketAddr, outcome: &Outcome) -> anyhow::Result<()> {
        let reply = match &outcome.reply {
            Ok(reply) => reply,
            Err(failure) => bail!("{failure:?}"),
        };
        let expected = self.service().name;
        ensure!(reply.name == expected, "`{}` answered, not `{expected}`", reply.name);
        ensure!(outcome.peer == Some(to), "the answer comes from {:?}", outcome.peer);
        let pod = match self.client {
            Position::PodSameNode => "client-1",
            Position::PodOtherNode => "client-2",
            Position::NodeProcess | Position::External => return Ok(()),
        };
        let own = world.pod_address(pod, self.v6)?;
        let seen = reply.client.ip();
        if self.backend == "client-itself" {
            // S72; a translated socket makes a connection within the pod, which has no other address.
            let translated = world.socket_lb != SocketLb::Off;
            ensure!(translated || seen != own, "the pod sees its own address {seen}");
        } else if matches!(self.frontend.0, Frontend::ClusterIp | Frontend::PodIp) {
            // S27
            ensure!(seen == own, "the backend sees {seen}, not the pod's {own}");
        }
        Ok(())
    }
}

/// The names of all cells that there are.
pub(crate) fn names() -> impl Iterator<Item = String> {
    ["sockets-on", "sockets-off"].into_iter().flat_map(|sockets| {
        Cell::all().filter(|cell| cell.not_applicable(sockets).is_none()).map(move |cell| cell.name(sockets))
    })
}

/// What came of the matrix.
#[derive(Default)]
pub(crate) struct Summary {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    not_applicable: std::collections::BTreeMap<&'static str, usize>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, cells) in &self.not_applicable {
            writeln!(f, "not applicable: {cells} cells: {reason}")?;
        }
        let not_applicable: usize = self.not_applicable.values().sum();
        let (passed, failed) = (self.passed, self.failed);
        write!(f, "{passed} cells passed, {failed} failed, {not_applicable} not applicable")
    }
}

/// Runs the cells of one world that are asked for, many at a time.
pub(crate) async fn run(world: &World, tally: &Tally, summary: &mut Summary) -> anyhow::Result<()> {
    let mut cells = Vec::new();
    for cell in Cell::all() {
        match cell.not_applicable(world.name()) {
            Some(reason) => *summary.not_applicable.entry(reason).or_default() += 1,
            None => cells.extend(tally.wants(&cell.name(world.name())).then_some(cell)),
        }
    }
    if cells.is_empty() {
        return Ok(());
    }
    if let Err(error) = wait_for_services(world).await {
        println!("{}: {error:#}", world.name());
    }
    let mut results = futures::stream::iter(cells)
        .map(|cell| async move { (cell.name(world.name()), cell.run(world).await) })
        .buffered(16);
    while let Some((name, result)) = results.next().await {
        match result {
            Ok(()) => summary.passed += 1,
            Err(error) => {
                summary.failed += 1;
                println!("cell {name} ... FAILED: {error:#}");
            }
        }
    }
    Ok(())
}

/// Endpoints need a moment from "ready" to the tables of every node.
async fn wait_for_services(world: &World) -> anyhow::Result<()> {
    let services = [
        services::LOCAL_POD,
        services::REMOTE_POD,
        services::HOST,
        services::HOST_REMOTE,
        services::CLIENT_1,
        services::CLIENT_2,
    ];
    for service in services {
        for from in [Position::PodSameNode, Position::PodOtherNode] {
            let what = format!("{} from {}", service.name, from.name());
            let ask = || world.ask_name(from, (service.cluster_ip(false), 80));
            eventually(&what, ask, |name| name.as_deref().ok() == Some(service.name)).await?.ok();
        }
    }
    let outside = services::CLIENT_OUTSIDE;
    for node in [1, 2] {
        let to = (world.node_address(node, false), outside.node_port());
        let ask = || world.ask_name(Position::External, to);
        eventually(outside.name, ask, |name| name.as_deref().ok() == Some(outside.name)).await?.ok();
    }
    Ok(())
}
