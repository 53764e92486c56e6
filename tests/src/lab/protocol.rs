//! What the keeper is asked over its socket: one JSON line each way.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Place;

/// A request to the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How everything is.
    Status,
    /// Stops a process, `control` or a node's name for its agent: politely, or by SIGKILL.
    Stop {
        /// Which.
        process: String,
        /// At once.
        kill: bool,
    },
    /// Starts it again.
    Start {
        /// Which.
        process: String,
    },
}

/// The keeper's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// Done.
    Done,
    /// Not done, and why.
    Failed(String),
}

/// How a lab is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Control plane and agents, by name.
    pub processes: Vec<ProcessState>,
    /// Pods, by namespace and name.
    pub pods: Vec<PodState>,
    /// Manifests that could not be read, with file and cause.
    pub broken: Vec<String>,
}

/// How the control plane or an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessState {
    /// `control`, or the node's name.
    pub name: String,
    /// Its process id while it runs.
    pub pid: Option<u32>,
    /// How it ended, if it did.
    pub ended: Option<String>,
    /// Its log.
    pub log: String,
}

/// How a pod is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// The node it runs on.
    pub node: String,
    /// Its addresses, once it has some.
    pub addresses: Vec<IpAddr>,
    /// `pending`, `running` or `terminating`.
    pub phase: String,
    /// Its probes pass.
    pub ready: bool,
    /// How often its containers were started again.
    pub restarts: u32,
    /// What stands in its way, if something does.
    pub message: Option<String>,
    /// Where its programs run.
    pub place: Place,
}
