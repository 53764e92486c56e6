//! The control stream's client: keeps the cluster's state, and the service table equal to it.

mod audit;
mod burst;
mod changes;
mod connection;
mod disk;
mod engine;
mod received;
mod serving;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod turns;
mod way;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use fairway_datapath::table::Tables;
use fairway_proto::control::{PodStatus, Version};
use fairway_proto::model::Cluster;
use imbl::OrdMap;
use ipnet::IpNet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::health::Metrics;
use crate::reconcile::{BackendKey, Limits, Usage};
use crate::repair::Repairs;
use crate::resolve::{Desired, HostPorts, LocalNode, ServicePortName};
pub(crate) use engine::chain;
pub use source::Source;
#[doc(hidden)]
pub use way::Way;

/// How the agent stands with its control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlPlane {
    /// None is configured.
    #[default]
    None,
    /// The stream is open.
    Connected {
        /// The address in use, as configured.
        address: String,
        /// Where else the control plane is.
        others: Vec<String>,
        /// Since when.
        since: SystemTime,
    },
    /// The stream is not open; the last state stays in force.
    Disconnected {
        /// The address as configured; several are separated by commas.
        address: String,
        /// Since when.
        since: SystemTime,
        /// Why, in one line; of several addresses the last that was tried.
        reason: String,
    },
}

/// Where the state in force came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nothing yet: what an earlier agent left in the kernel is in force, untouched.
    #[default]
    Kernel,
    /// The state that an earlier agent saved on disk.
    Disk,
    /// The control plane.
    ControlPlane,
}

/// What the agent serves: one consistent picture, replaced as a whole after each sync.
#[derive(Clone, Debug, Default)]
pub struct SyncState {
    /// This node.
    pub node: LocalNode,
    /// The cluster as last received.
    pub cluster: Arc<Cluster>,
    /// What this node should serve of it.
    pub desired: Arc<Desired>,
    /// Ids of the Service ports in the kernel's tables.
    pub service_ids: OrdMap<ServicePortName, u32>,
    /// Ids of the backends in the kernel's tables, by Service port, address and port.
    pub backend_ids: OrdMap<BackendKey, u32>,
    /// How many entries of the kernel's tables are in use.
    pub usage: Usage,
    /// Where `cluster` came from.
    pub origin: Origin,
    /// The ports that lead to this node's pods, as the tables serve them.
    pub host_ports: HostPorts,
    /// The version of the cluster's state that the tables hold as a whole.
    pub applied: Option<Version>,
    /// When the tables were last brought up to date.
    pub applied_at: Option<SystemTime>,
    /// The stream.
    pub control_plane: ControlPlane,
    /// The Node object of this node was there, and is not any more.
    pub node_deleted: bool,
    /// Which health check ports of Services are not open, in one line each.
    pub health_check_problems: Vec<String>,
    /// What kept the last sync from being complete, in one line each; empty: nothing.
    pub errors: Vec<String>,
}

/// What [`run`] is told.
#[derive(Debug)]
pub struct Options {
    /// The control plane; none: only the state on disk.
    pub source: Option<Source>,
    /// Directory that holds the last state.
    pub state_dir: PathBuf,
    /// Sizes of the tables.
    pub limits: Limits,
    /// This node, now and after each change. Without a zone, the Node object's counts.
    pub node: watch::Receiver<LocalNode>,
    /// The node's ports that lead to its pods, now and after each change.
    pub host_ports: watch::Receiver<HostPorts>,
    /// Where this node's pods get their addresses; told to the control plane.
    pub pod_cidrs: Vec<IpNet>,
    /// The pods of this node; told to the control plane.
    pub reports: watch::Receiver<Vec<PodStatus>>,
    /// Where durations are counted.
    pub metrics: Arc<Metrics>,
    /// Where it is noted that somebody changed the tables.
    pub repairs: Arc<Repairs>,
}

/// Keeps the service table equal to the cluster's state, until `stop`. What is in force stays in force.
///
/// # Errors
///
/// The tables cannot be read.
pub async fn run<T: Tables + Send + 'static>(
    tables: Arc<Mutex<T>>,
    state: watch::Sender<Arc<SyncState>>,
    options: Options,
    stop: CancellationToken,
) -> Result<(), T::Error> {
    serving::Serving::start(tables, state, options, stop).await?.run().await;
    Ok(())
}
