//! The lab of the suite: one Service, an endpoint on each node.

use std::net::IpAddr;

use anyhow::Context;
use fairway_tests::lab::{Families, Lab, Running, Runtime, SocketLb, State, server_pod};
use fairway_tests::runtime::{Containerd, Cri};
use fairway_tests::{eventually, eventually_within};

const MANIFESTS: &str = r#"---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  clusterIP: 10.96.1.80
  clusterIPs: [10.96.1.80, "fd00:10:96::180"]
  selector: {app: web}
  ports:
    - {name: tcp, protocol: TCP, port: 80, targetPort: 8080}
    - {name: udp, protocol: UDP, port: 80, targetPort: 8080}
"#;

pub(crate) const NODES: [&str; 2] = ["node1", "node2"];

/// The addresses of the Service.
pub(crate) fn service(v6: bool) -> (IpAddr, u16) {
    let address = if v6 { "fd00:10:96::180" } else { "10.96.1.80" };
    (address.parse().expect("it is an address"), 80)
}

/// How the random sequence is run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choice {
    /// Long.
    pub(crate) full: bool,
    /// The sequence that failed before.
    pub(crate) seed: Option<u64>,
}

/// A lab whose pods are made by containerd.
pub(crate) struct World {
    pub(crate) lab: Running,
    pub(crate) choice: Choice,
}

impl World {
    pub(crate) async fn up(choice: Choice) -> anyhow::Result<Self> {
        let mut state = State::of_this_process("cni", 2, Families::Dual, SocketLb::All);
        state.runtime = Runtime::Containerd;
        let lab = Running::up(state).await?;
        let pods = NODES.map(|node| server_pod(&format!("web-{node}"), node, "app: web"));
        lab.manifests().apply_text(&(MANIFESTS.to_owned() + &pods.concat()))?;
        lab.pods_ready(NODES.len()).await?;
        Ok(Self { lab, choice })
    }

    /// The node's container runtime.
    pub(crate) async fn cri(&self, node: &str) -> anyhow::Result<Cri> {
        Ok(Cri::connect(&Containerd::of(&self.lab.state, node).socket()).await?)
    }

    /// An address of one of the Service's endpoints.
    pub(crate) fn endpoint(&self, node: &str, v6: bool) -> anyhow::Result<IpAddr> {
        let pod = self.lab.pod(&format!("default/web-{node}"))?;
        let found = pod.addresses.into_iter().find(|address| address.is_ipv6() == v6);
        found.with_context(|| format!("the endpoint on {node} has no address of that family"))
    }

    /// Runs a program on a node; what it wrote.
    pub(crate) fn run(&self, node: &str, words: &str) -> anyhow::Result<String> {
        run(&self.lab, node, words)
    }
}

/// Runs a program at a place of the lab; what it wrote.
pub(crate) fn run(lab: &Lab, target: &str, words: &str) -> anyhow::Result<String> {
    let output = lab.run(target, &words.split(' ').collect::<Vec<_>>())?;
    anyhow::ensure!(output.status.success(), "`{words}`: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until the agent of a node serves.
pub(crate) async fn agent_ready(lab: &Lab, node: &str) -> anyhow::Result<()> {
    let limit = std::time::Duration::from_secs(60);
    let ready = || async { lab.agent_health(node).map_err(|error| error.to_string()) };
    eventually_within(limit, "the agent is ready", ready, |status| *status == Ok(200)).await?.ok();
    Ok(())
}

/// Waits until a node's container runtime can make pods.
pub(crate) async fn runtime_ready(world: &World, node: &str) -> anyhow::Result<()> {
    let ready = || async {
        let cri = world.cri(node).await.map_err(|error| error.to_string())?;
        cri.ready().await.map_err(|error| error.to_string())
    };
    eventually("the container runtime is ready", ready, Result::is_ok).await?.ok();
    Ok(())
}
