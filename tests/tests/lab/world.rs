//! The lab of the suite: its Services, and a client in every position.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, ensure};
use fairway_tests::eventually;
use fairway_tests::lab::{
    Families, Lab, Running, SERVER_PROBE, SocketLb, State, server_pod, server_pod_with,
};
use fairway_tests::traffic::{Kind, Query, Runner, http_text};

use super::services;

/// Where a client is. Everything is seen from node1: "same" and "local" mean on it, "other" and "remote" on node2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    PodSameNode,
    PodOtherNode,
    NodeProcess,
    External,
    HostPod,
    OtherNodeProcess,
}

impl Position {
    pub(crate) const ALL: [Self; 4] =
        [Self::PodSameNode, Self::PodOtherNode, Self::NodeProcess, Self::External];
    /// Those too that seldom differ from the ones above.
    pub(crate) const EVERY: [Self; 6] = [
        Self::PodSameNode,
        Self::PodOtherNode,
        Self::NodeProcess,
        Self::External,
        Self::HostPod,
        Self::OtherNodeProcess,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PodSameNode => "pod-same-node",
            Self::PodOtherNode => "pod-other-node",
            Self::NodeProcess => "node-process",
            Self::External => "external",
            Self::HostPod => "host-network-pod",
            Self::OtherNodeProcess => "other-node-process",
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::PodSameNode => "default/client-1",
            Self::PodOtherNode => "default/client-2",
            Self::NodeProcess => "node1",
            Self::External => "client",
            Self::HostPod => "default/host-network",
            Self::OtherNodeProcess => "node2",
        }
    }
}

/// A lab with its clients.
pub(crate) struct World {
    pub(crate) lab: Running,
    pub(crate) socket_lb: SocketLb,
    runners: Vec<Runner>,
    server: Child,
}

fn slice(name: &str, family: &str, address: IpAddr) -> String {
    format!(
        r#"---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: client-outside}}}}
addressType: {family}
ports:
  - {{name: tcp, protocol: TCP, port: 8080}}
  - {{name: udp, protocol: UDP, port: 8080}}
endpoints:
  - {{addresses: ["{address}"]}}
"#
    )
}

impl World {
    /// The world of the lab's tests.
    pub(crate) async fn up(socket_lb: SocketLb, routing: Option<&str>) -> anyhow::Result<Self> {
        Self::with("suite", socket_lb, routing, services_of_the_lab).await
    }

    /// The same without Services.
    pub(crate) async fn up_for_matrix(socket_lb: SocketLb, routing: Option<&str>) -> anyhow::Result<Self> {
        Self::with("matrix", socket_lb, routing, |_| String::new()).await
    }

    async fn with(
        name: &str,
        socket_lb: SocketLb,
        routing: Option<&str>,
        services: fn(&Lab) -> String,
    ) -> anyhow::Result<Self> {
        let name = format!("{name}-{}", socket_lb.flag());
        let mut state = State::of_this_process(&name, 2, Families::Dual, socket_lb);
        state.settings.extend(routing.map(|routing| ("routing".into(), routing.into())));
        let lab = Running::up(state).await?;
        let pods = pods(&lab);
        lab.manifests().apply_text(&(pods.concat() + &services(&lab)))?;
        for file in ["pair-1", "pair-2"] {
            fs::write(ready_file(&lab, file), "")?;
        }
        lab.pods_ready(pods.len()).await?;
        let server = lab
            .command("client", "fairway-lab")?
            .args(["serve", "--name", "client-outside", "--tcp", "8080", "--udp", "8080"])
            .spawn()?;
        let runners =
            Position::EVERY.iter().map(|position| Ok(Runner::start(&lab.place(position.target())?)?));
        let runners = runners.collect::<anyhow::Result<_>>()?;
        Ok(Self { lab, socket_lb, runners, server })
    }

    /// The client in a position.
    pub(crate) fn client(&self, position: Position) -> &Runner {
        let index = Position::EVERY.iter().position(|other| *other == position);
        index.and_then(|index| self.runners.get(index)).expect("there is one for each position")
    }

    /// `sockets-on`, `sockets-host` or `sockets-off`.
    pub(crate) fn name(&self) -> &'static str {
        match self.socket_lb {
            SocketLb::All => "sockets-on",
            SocketLb::Host => "sockets-host",
            SocketLb::Off => "sockets-off",
        }
    }

    pub(crate) fn node_address(&self, number: u8, v6: bool) -> IpAddr {
        of_family(self.lab.state.plan.node(number).iter().map(ipnet::IpNet::addr), v6)
    }

    pub(crate) fn client_address(&self, v6: bool) -> IpAddr {
        of_family(self.lab.state.plan.client().iter().map(ipnet::IpNet::addr), v6)
    }

    pub(crate) fn pod_address(&self, name: &str, v6: bool) -> anyhow::Result<IpAddr> {
        let pod = self.lab.pod(&format!("default/{name}"))?;
        let found = pod.addresses.into_iter().find(|address| address.is_ipv6() == v6);
        found.with_context(|| format!("pod {name} has no address of that family"))
    }

    pub(crate) fn ready_file(&self, pod: &str) -> std::path::PathBuf {
        ready_file(&self.lab, pod)
    }

    /// Asks once by TCP from a position.
    pub(crate) async fn ask_name(&self, from: Position, to: (IpAddr, u16)) -> anyhow::Result<String> {
        let mut query = Query::new(Kind::Tcp, to.into());
        query.timeout = Duration::from_millis(1500);
        let outcome = self.client(from).ask(query).await?;
        Ok(outcome.reply.map_or_else(|failure| format!("{failure:?}"), |reply| reply.name))
    }

    /// Endpoints need a moment from "ready" to the tables of every node.
    pub(crate) async fn wait_for_services(&self) -> anyhow::Result<()> {
        for service in [
            services::LOCAL_POD,
            services::REMOTE_POD,
            services::HOST,
            services::HOST_REMOTE,
            services::CLIENT_1,
            services::CLIENT_2,
        ] {
            for from in [Position::PodSameNode, Position::PodOtherNode] {
                let what = format!("{} from {}", service.name, from.name());
                let ask = || self.ask_name(from, (service.cluster_ip(false), 80));
                let found = eventually(&what, ask, |name| name.as_deref().ok() == Some(service.name)).await;
                found?.ok();
            }
        }
        Ok(())
    }

    /// How often each reason was counted, on both nodes.
    pub(crate) fn counts(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for node in ["node1", "node2"] {
            let page = self.lab.state.netns(node).within(|| {
                http_text((std::net::Ipv4Addr::LOCALHOST, 10256).into(), "/metrics", Duration::from_secs(5))
            })?;
            for line in page.lines().filter_map(|line| line.strip_prefix("fairway_packets_total{")) {
                let reason = line.split("reason=\"").nth(1).and_then(|rest| rest.split('"').next());
                let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
                if let (Some(reason), Some(count)) = (reason, count) {
                    *counts.entry(reason.to_owned()).or_default() += count;
                }
            }
        }
        ensure!(!counts.is_empty(), "the agents count nothing");
        Ok(counts)
    }

    /// Copies the logs to where they outlive the lab.
    pub(crate) fn keep_logs(&self) -> anyhow::Result<()> {
        let to = fairway_tests::lab::keep_logs(&self.lab.state)?;
        println!("logs: {}", to.display());
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The lab's own clean-up ends it too.
        self.server.kill().and_then(|()| self.server.wait()).ok();
    }
}

fn of_family(mut addresses: impl Iterator<Item = IpAddr>, v6: bool) -> IpAddr {
    addresses.find(|address| address.is_ipv6() == v6).expect("the suite's labs have both families")
}

fn ready_file(lab: &Lab, pod: &str) -> std::path::PathBuf {
    lab.state.directory().join(format!("{pod}.ready"))
}

fn pods(lab: &Lab) -> [String; 8] {
    let pod = |name: &str, node: &str| server_pod(name, node, &format!("app: {name}"));
    let on_host = |name: &str, node: &str| {
        server_pod_with(name, node, &format!("app: {name}"), "hostNetwork: true", SERVER_PROBE)
    };
    [
        pod("local-pod", "node1"),
        pod("remote-pod", "node2"),
        on_host("host-network", "node1"),
        on_host("host-network-remote", "node2"),
        pod("client-1", "node1"),
        pod("client-2", "node2"),
        pair(lab, 1, "pair"),
        pair(lab, 2, "pair"),
    ]
}

fn services_of_the_lab(lab: &Lab) -> String {
    let outside = lab.state.plan.client();
    let slices = outside.iter().map(|net| {
        let v6 = net.addr().is_ipv6();
        let (name, family) = if v6 { ("client-outside-v6", "IPv6") } else { ("client-outside-v4", "IPv4") };
        slice(name, family, net.addr())
    });
    services::ALL.iter().map(|service| service.manifest()).chain(slices).collect()
}

/// One of the two backends of [`PAIR`], on the node of its number.
pub(crate) fn pair(lab: &Lab, number: u8, app: &str) -> String {
    let name = format!("pair-{number}");
    let probe = format!("exec: {{command: [test, -e, {}]}}", ready_file(lab, &name).display());
    server_pod_with(&name, &format!("node{number}"), &format!("app: {app}"), "", &probe)
}
