//! The control stream's client: keeps the cluster's state, and the service table equal to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use fairway_proto::control::Version;
use fairway_proto::model::Cluster;

use crate::resolve::{Desired, LocalNode, ServicePortName};

/// How the agent stands with its control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlPlane {
    /// None is configured.
    #[default]
    None,
    /// The stream is open.
    Connected {
        /// The address as configured.
        address: String,
        /// Since when.
        since: SystemTime,
    },
    /// The stream is not open; the last state stays in force.
    Disconnected {
        /// The address as configured.
        address: String,
        /// Since when.
        since: SystemTime,
        /// Why, in one line.
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
    pub service_ids: Arc<BTreeMap<ServicePortName, u32>>,
    /// Ids of the backends in the kernel's tables, by address and port.
    pub backend_ids: Arc<BTreeMap<(IpAddr, u16), u32>>,
    /// Where `cluster` came from.
    pub origin: Origin,
    /// The version of the cluster's state that the tables hold.
    pub applied: Option<Version>,
    /// When the tables were last brought up to date.
    pub applied_at: Option<SystemTime>,
    /// The stream.
    pub control_plane: ControlPlane,
    /// What kept the last sync from being complete, in one line each; empty: nothing.
    pub errors: Vec<String>,
}
