//! Assembles the agent: data path, network, pods, sync, and the servers.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use fairway_datapath::Datapath;
use tokio::sync::watch;

use crate::config::Config;
use crate::health::Metrics;
use crate::netlink::Netlink;
use crate::pods::Pods;
use crate::sync::SyncState;

/// What the rooms of a running agent share.
pub struct Shared {
    /// The settings.
    pub config: Config,
    /// The data path. Hold the lock for one call at a time, never across an await.
    pub datapath: Arc<Mutex<Datapath>>,
    /// What is served: subscribe, or borrow the latest.
    pub state: watch::Sender<Arc<SyncState>>,
    /// The pods of this node.
    pub pods: Pods,
    /// The kernel's network configuration.
    pub netlink: Netlink,
    /// Durations and counts.
    pub metrics: Arc<Metrics>,
    /// When the agent started.
    pub started: Instant,
}
