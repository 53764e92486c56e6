//! One pod, from its sandbox to its end.

mod container;
mod containerd;
mod report;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodSpec;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::kubelet::States;
use super::{in_one_line, lock};
use crate::lab::{Cgroup, Netns, Place, PodState, Runtime, State};
use crate::runtime::plugin;
pub(super) use container::service_environment;
use report::Told;

const RETRY: Duration = Duration::from_millis(300);
const GRACE: i64 = 30;

/// A pod's sandbox and all that its task needs.
pub(super) struct Sandbox {
    state: Arc<State>,
    name: String,
    spec: PodSpec,
    /// What the runtime adds to the network configuration; null: nothing.
    asks: serde_json::Value,
    /// The environment that Services of its namespace add.
    services: Vec<(String, String)>,
    node: String,
    place: Place,
    container_id: String,
    states: States,
    starts: watch::Receiver<u64>,
    /// The container runtime's name for it, once it made it.
    made: containerd::Made,
    /// Readiness of each container, and whether the pod is ending.
    told: watch::Sender<Told>,
}

impl Sandbox {
    pub(super) fn new(
        state: Arc<State>,
        name: &str,
        spec: PodSpec,
        services: Vec<(String, String)>,
        generation: u64,
        states: States,
        starts: watch::Receiver<u64>,
    ) -> Self {
        let node = spec.node_name.clone().unwrap_or_default();
        let place = state.pod_place(&node, name, spec.host_network == Some(true));
        let container_id = format!("{}{}-{generation}", state.prefix(), name.replace('/', "-"));
        let told = watch::channel(Told { ready: vec![false; spec.containers.len()], terminating: false }).0;
        let this = Self {
            state,
            name: name.into(),
            spec,
            asks: serde_json::Value::Null,
            services,
            node,
            place,
            container_id,
            states,
            starts,
            made: containerd::Made::default(),
            told,
        };
        // Seen as soon as it is wanted, even if a pod of that name still ends.
        this.change(|_| {});
        this
    }

    pub(super) fn asking(mut self, asks: serde_json::Value) -> Self {
        self.asks = asks;
        self
    }

    fn host_network(&self) -> bool {
        self.spec.host_network == Some(true)
    }

    fn change(&self, change: impl FnOnce(&mut PodState)) {
        let mut states = lock(&self.states);
        change(states.entry(self.name.clone()).or_insert_with(|| PodState {
            name: self.name.clone(),
            node: self.node.clone(),
            addresses: Vec::new(),
            phase: "pending".into(),
            ready: false,
            restarts: 0,
            message: None,
            place: self.place.clone(),
        }));
    }

    /// Runs the pod until `ended` says so, and removes all of it.
    pub(super) async fn run(self, mut ended: watch::Receiver<bool>) {
        self.change(|_| {});
        let this = Arc::new(self);
        let set_up = tokio::select! {
            () = this.set_up() => true,
            _ = ended.wait_for(|end| *end) => false,
        };
        let reporter = tokio::spawn(report::report(this.clone()));
        if set_up {
            this.live(&mut ended).await;
        }
        reporter.abort();
        this.tear_down().await;
        lock(&this.states).remove(&this.name);
    }

    /// Tries until there is a sandbox with addresses, as a kubelet does.
    async fn set_up(&self) {
        loop {
            match self.sandbox().await {
                Ok(addresses) => {
                    tracing::info!("pod {} on {} has {addresses:?}", self.name, self.node);
                    return self.change(|pod| {
                        pod.addresses = addresses;
                        pod.message = None;
                    });
                }
                Err(error) => {
                    tracing::warn!("pod {}: {error}", self.name);
                    self.change(|pod| pod.message = Some(error));
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn sandbox(&self) -> Result<Vec<IpAddr>, String> {
        let Some(number) = self.state.plan.number(&self.node) else {
            return Err(format!(
                "there is no node `{}`: use `fairway-lab apply`, which chooses one",
                self.node
            ));
        };
        let cgroup = Cgroup::below_root(&self.place.cgroup).and_then(|cgroup| cgroup.create());
        cgroup.map_err(|error| format!("cgroup: {error}"))?;
        if self.state.runtime == Runtime::Containerd {
            let addresses = containerd::sandbox(self).await.map_err(|error| in_one_line(&error))?;
            if !self.host_network() {
                return Ok(addresses);
            }
        }
        if self.host_network() {
            return Ok(self.state.plan.node(number).iter().map(ipnet::IpNet::addr).collect());
        }
        let netns = Netns::named(&self.place.netns);
        if !netns.path().exists() {
            netns.create().map_err(|error| format!("network namespace: {error}"))?;
        }
        let result = plugin::call(&self.cni("ADD")).await?;
        Ok(plugin::addresses(&result))
    }

    fn cni<'a>(&'a self, command: &'static str) -> plugin::Call<'a> {
        let asks = Some(self.asks.clone()).filter(|asks| !asks.is_null());
        let more = asks.map(|asks| ("runtimeConfig", asks)).into_iter().collect();
        plugin::Call {
            state: &self.state,
            node: &self.node,
            command,
            container_id: &self.container_id,
            netns: Netns::named(&self.place.netns),
            pod: &self.name,
            more,
        }
    }

    /// Runs the containers until the pod is to end, then ends them politely.
    async fn live(self: &Arc<Self>, ended: &mut watch::Receiver<bool>) {
        let mut containers = JoinSet::new();
        for (index, spec) in self.spec.containers.iter().enumerate() {
            containers.spawn(container::run(self.clone(), index, spec.clone(), ended.clone()));
        }
        self.change(|pod| pod.phase = "running".into());
        // An error means that the keeper forgot the pod, which ends it too.
        ended.wait_for(|end| *end).await.ok();
        self.change(|pod| pod.phase = "terminating".into());
        self.told.send_modify(|told| told.terminating = true);
        let grace = self.spec.termination_grace_period_seconds.unwrap_or(GRACE);
        let all = async { while containers.join_next().await.is_some() {} };
        let grace = Duration::from_secs(grace.try_into().unwrap_or_default());
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("pod {} did not end within {grace:?}", self.name);
        }
    }

    async fn tear_down(&self) {
        let cgroup = Cgroup::below_root(&self.place.cgroup);
        let removed = tokio::task::spawn_blocking(move || cgroup.and_then(|cgroup| cgroup.remove())).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!("pod {}: cgroup: {error}", self.name);
        }
        let by_containerd = self.state.runtime == Runtime::Containerd;
        if self.host_network() && !by_containerd {
            return;
        }
        for attempt in 1..=10 {
            let removed = if by_containerd {
                containerd::remove(self).await.map_err(|error| in_one_line(&error))
            } else {
                plugin::call(&self.cni("DEL")).await.map(drop)
            };
            match removed {
                Ok(()) => break,
                Err(error) => tracing::warn!("pod {}: DEL, attempt {attempt}: {error}", self.name),
            }
            tokio::time::sleep(RETRY).await;
        }
        if self.host_network() {
            return;
        }
        if let Err(error) = Netns::named(&self.place.netns).remove() {
            tracing::warn!("pod {}: network namespace: {error}", self.name);
        }
    }

    /// What containers may ask for by `fieldRef`.
    fn fields(&self) -> BTreeMap<&'static str, String> {
        let (namespace, name) = self.name.split_once('/').unwrap_or(("default", &self.name));
        let addresses =
            lock(&self.states).get(&self.name).map(|pod| pod.addresses.clone()).unwrap_or_default();
        let first = |addresses: &[IpAddr]| addresses.first().map(ToString::to_string).unwrap_or_default();
        let all = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let number = self.state.plan.number(&self.node).unwrap_or_default();
        let host: Vec<IpAddr> = self.state.plan.node(number).iter().map(ipnet::IpNet::addr).collect();
        BTreeMap::from([
            ("metadata.name", name.to_owned()),
            ("metadata.namespace", namespace.to_owned()),
            ("spec.nodeName", self.node.clone()),
            ("status.podIP", first(&addresses)),
            ("status.podIPs", all),
            ("status.hostIP", first(&host)),
        ])
    }
}
