//! A pod made by the node's containerd, network included.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, watch};

use super::{GRACE, Sandbox};
use crate::lab::{Cgroup, Netns};
use crate::runtime::{Containerd, Cri, Error, Pod, Port, Program};

/// How often a container is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The runtime's id of a pod's sandbox. Locked while it is being made.
pub(super) type Made = Arc<Mutex<Option<String>>>;

/// Has the sandbox made, and gives its network namespace the name that the lab knows it by.
pub(super) async fn sandbox(sandbox: &Sandbox) -> Result<Vec<IpAddr>, Error> {
    let (cri, pod, made) = (connect(sandbox).await?, pod(sandbox), sandbox.made.clone());
    cri.ready().await?;
    let asked = cri.clone();
    // A task of its own: whoever gives up waiting must not lose the sandbox's id.
    let making = tokio::spawn(async move {
        let mut made = made.lock_owned().await;
        if made.is_none() {
            *made = Some(asked.run_pod(&pod).await?);
        }
        Ok::<_, Error>(made.clone().unwrap_or_default())
    });
    let pod_id = making.await.map_err(std::io::Error::other)??;
    if !sandbox.host_network() {
        Netns::named(&sandbox.place.netns).bind(&cri.netns(&pod_id).await?)?;
    }
    cri.addresses(&pod_id).await
}

/// Has the sandbox removed; one that was never made is a success.
pub(super) async fn remove(sandbox: &Sandbox) -> Result<(), Error> {
    let mut made = sandbox.made.lock().await;
    if let Some(pod_id) = made.as_deref() {
        let cri = connect(sandbox).await?;
        cri.stop_pod(pod_id).await?;
        cri.remove_pod(pod_id).await?;
    }
    *made = None;
    Ok(Cgroup::below_root(&pod(sandbox).cgroup)?.remove()?)
}

/// A container that was started.
pub(super) struct Container {
    cri: Cri,
    id: String,
    grace: Duration,
}

/// Starts a container.
pub(super) async fn start(sandbox: &Sandbox, program: &Program) -> Result<Container, Error> {
    let cri = connect(sandbox).await?;
    let pod_id = sandbox.made.lock().await.clone().unwrap_or_default();
    let id = cri.start(&pod_id, &pod(sandbox), program).await?;
    let grace = sandbox.spec.termination_grace_period_seconds.unwrap_or(GRACE);
    Ok(Container { cri, id, grace: Duration::from_secs(grace.try_into().unwrap_or_default()) })
}

impl Container {
    /// How it ended by itself; none when the pod is to end, and it did after SIGTERM. A runtime that does not answer says
    /// nothing about its containers.
    pub(super) async fn wait(self, ended: &mut watch::Receiver<bool>) -> Option<String> {
        let by_itself = async {
            loop {
                if let Ok(Some(how)) = self.cri.ended(&self.id).await {
                    return how;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let how = tokio::select! {
            how = by_itself => Some(how),
            _ = ended.wait_for(|end| *end) => None,
        };
        if let Err(error) = self.cri.end(&self.id, self.grace).await {
            tracing::warn!("container {}: {error}", self.id);
        }
        how
    }
}

async fn connect(sandbox: &Sandbox) -> Result<Cri, Error> {
    Cri::connect(&Containerd::of(&sandbox.state, &sandbox.node).socket()).await
}

fn pod(sandbox: &Sandbox) -> Pod {
    Pod {
        name: sandbox.name.clone(),
        uid: sandbox.container_id.clone(),
        cgroup: sandbox.state.containers(&sandbox.node, &sandbox.name),
        logs: sandbox.state.directory().join("logs"),
        host_network: sandbox.host_network(),
        ports: ports(&sandbox.asks),
        annotations: annotations(&sandbox.asks),
        ..Pod::default()
    }
}

/// What the runtime is to pass on to the plugin, as it is told of it.
fn ports(asks: &Value) -> Vec<Port> {
    let number = |value: &Value| value.as_u64().and_then(|port| port.try_into().ok()).unwrap_or_default();
    let port = |mapping: &Value| Port {
        node: number(&mapping["hostPort"]),
        pod: number(&mapping["containerPort"]),
        is_udp: mapping["protocol"] == "udp",
        address: mapping["hostIP"].as_str().unwrap_or_default().to_owned(),
    };
    asks["portMappings"].as_array().into_iter().flatten().map(port).collect()
}

fn annotations(asks: &Value) -> Vec<(String, String)> {
    let annotation = |way: &str| {
        let rate = asks["bandwidth"][format!("{way}Rate")].as_u64().filter(|rate| *rate > 0)?;
        Some((format!("kubernetes.io/{way}-bandwidth"), rate.to_string()))
    };
    ["ingress", "egress"].into_iter().filter_map(annotation).collect()
}
