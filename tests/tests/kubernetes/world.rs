//! A server with objects, a control plane at it, and an agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fairway_control::{Kubernetes, Options, Server};
use fairway_proto::model::{Cluster, ResourceKey};
use fairway_tests::apiserver::{self, ApiServer, Kind};
use fairway_tests::eventually_within;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Agent, View, keys};
use crate::expected;

/// Clients wait longer and longer between attempts, and read a token's file once a minute.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// The kinds that the control plane watches.
pub(crate) const KINDS: [Kind; 3] = [Kind::Service, Kind::EndpointSlice, Kind::Node];
/// The node that the agent is.
pub(crate) const NODE: &str = "node-a";

/// Shows what the control planes log, as `RUST_LOG` asks for.
pub(crate) fn logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// One trial's world.
pub(crate) struct World {
    pub(crate) api: ApiServer,
    pub(crate) control: Server,
    pub(crate) agent: Agent,
    proxy: Option<String>,
    kubeconfig: PathBuf,
    _directory: TempDir,
}

/// What the control plane is told beside where the server is.
pub(crate) type Settings = Kubernetes;

impl World {
    /// A server with some objects of each kind, all of them with the agent.
    pub(crate) async fn up() -> anyhow::Result<Self> {
        let world = Self::start(apiserver::Options::default(), Settings::default(), fill).await?;
        world.settled().await?;
        world.watched().await?;
        Ok(world)
    }

    /// As [`World::up`], with another server.
    pub(crate) async fn up_with(options: apiserver::Options) -> anyhow::Result<Self> {
        let world = Self::start(options, Settings::default(), fill).await?;
        world.settled().await?;
        world.watched().await?;
        Ok(world)
    }

    /// Nothing is waited for.
    pub(crate) async fn start(
        options: apiserver::Options,
        settings: Settings,
        fill: impl FnOnce(&ApiServer) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let api = ApiServer::start(options).await?;
        fill(&api)?;
        let directory = tempfile::tempdir()?;
        let kubeconfig = api.kubeconfig(directory.path())?;
        let proxy = settings.service_proxy_name.clone();
        let control = Server::start(at(&kubeconfig, settings)).await?;
        let agent = Agent::connect(control.channel(), NODE);
        Ok(Self { api, control, agent, proxy, kubeconfig, _directory: directory })
    }

    /// Another control plane at the same server, with an agent of another node.
    pub(crate) async fn replica(&self, node: &str) -> anyhow::Result<(Server, Agent)> {
        let control = Server::start(at(&self.kubeconfig, Settings::default())).await?;
        let agent = Agent::connect(control.channel(), node);
        Ok((control, agent))
    }

    pub(crate) fn view(&self) -> View {
        self.agent.view()
    }

    /// What the agent should have.
    pub(crate) fn expected(&self) -> anyhow::Result<Cluster> {
        expected::cluster(&self.api, self.proxy.as_deref())
    }

    /// Waits until the agent has what the server has.
    pub(crate) async fn settled(&self) -> anyhow::Result<()> {
        let expected = self.expected()?;
        self.until(&expected).await
    }

    /// Waits until the agent has this.
    pub(crate) async fn until(&self, expected: &Cluster) -> anyhow::Result<()> {
        let ask = async || {
            let view = self.view();
            let problems: Vec<_> = self.control.problems().iter().map(ToString::to_string).collect();
            (difference(expected, &view.cluster), view.versions, view.error, problems)
        };
        let wanted =
            |(difference, versions, ..): &(Vec<String>, usize, _, _)| difference.is_empty() && *versions > 0;
        eventually_within(PATIENCE, "the agent has the server's state", ask, wanted).await?;
        Ok(())
    }

    /// Waits until every kind is watched.
    pub(crate) async fn watched(&self) -> anyhow::Result<()> {
        self.eventually("every kind is watched", || KINDS.iter().all(|kind| self.api.watches(*kind) > 0))
            .await
    }

    /// Waits for something to become true.
    pub(crate) async fn eventually(&self, what: &str, is: impl Fn() -> bool) -> anyhow::Result<()> {
        let ask = async || (is(), self.problems());
        eventually_within(PATIENCE, what, ask, |(is, _)| *is).await?;
        Ok(())
    }

    /// What the control plane says is wrong.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.control.problems().iter().map(ToString::to_string).collect()
    }
}

fn at(kubeconfig: &Path, settings: Settings) -> Options {
    Options::kubernetes(Kubernetes { kubeconfig: Some(kubeconfig.to_owned()), ..settings })
}

/// The names of what is not the same.
pub(crate) fn difference(expected: &Cluster, seen: &Cluster) -> Vec<String> {
    let all: std::collections::BTreeSet<ResourceKey> = keys(expected).union(&keys(seen)).cloned().collect();
    let differs = |key: &ResourceKey| match key {
        ResourceKey::Service(name) => expected.services.get(name) != seen.services.get(name),
        ResourceKey::EndpointSlice(name) => expected.slices.get(name) != seen.slices.get(name),
        ResourceKey::Node(name) => expected.nodes.get(name) != seen.nodes.get(name),
    };
    // A handful says enough.
    all.iter().filter(|key| differs(key)).take(5).map(|key| one(key, expected, seen)).collect()
}

fn one(key: &ResourceKey, expected: &Cluster, seen: &Cluster) -> String {
    match key {
        ResourceKey::Service(name) => {
            format!("expected {:?}, seen {:?}", expected.services.get(name), seen.services.get(name))
        }
        ResourceKey::EndpointSlice(name) => {
            format!("expected {:?}, seen {:?}", expected.slices.get(name), seen.slices.get(name))
        }
        ResourceKey::Node(name) => {
            format!("expected {:?}, seen {:?}", expected.nodes.get(name), seen.nodes.get(name))
        }
    }
}

/// Ten Services with a slice each, and two Nodes.
pub(crate) fn fill(api: &ApiServer) -> anyhow::Result<()> {
    for number in 0..10 {
        api.put(service(&format!("s{number}"), number))?;
        api.put(slice(&format!("s{number}"), &[&format!("10.244.1.{}", number + 1)]))?;
    }
    api.put(node(NODE, 1))?;
    api.put(node("node-b", 2))
}

/// The Service of that name with its own cluster IP.
pub(crate) fn service(name: &str, number: usize) -> Value {
    let ip = format!("10.96.{}.{}", number / 250, number % 250 + 1);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": "default", "name": name },
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
            "selector": { "app": name },
            "ports": [{ "name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080 }],
        },
        "status": { "loadBalancer": {} },
    })
}

/// The slice of a Service with these endpoints.
pub(crate) fn slice(service: &str, addresses: &[&str]) -> Value {
    let endpoint = |address: &&str| {
        json!({
            "addresses": [address], "nodeName": NODE,
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "targetRef": { "kind": "Pod", "namespace": "default", "name": format!("{service}-{address}") },
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "namespace": "default", "name": format!("{service}-abcde"), "generateName": format!("{service}-"),
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{ "name": "http", "protocol": "TCP", "port": 8080 }],
    })
}

/// A Node, as the kubelet has made it.
pub(crate) fn node(name: &str, number: usize) -> Value {
    let cidr = format!("10.244.{number}.0/24");
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "spec": { "podCIDR": cidr, "podCIDRs": [cidr] },
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": format!("192.0.2.{number}") },
                { "type": "Hostname", "address": name },
            ],
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }],
        },
    })
}
