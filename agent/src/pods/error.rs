//! What can go wrong with a pod, and CNI's number for it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::ipam::Exhausted;
use super::programs::ProgramError;
use crate::netlink;

/// Why a pod could not be added or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request lacks something.
    #[error("`{0}` is missing in the request")]
    Missing(&'static str),
    /// The pod's network namespace is not there, or is something else.
    #[error("`{path}` is not a network namespace that can be entered")]
    Netns {
        /// Where it should be.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The pod shares the node's network namespace.
    #[error("`{path}` is the node's own network namespace: a pod with `hostNetwork` needs no network plugin")]
    OwnNetns {
        /// Where it is.
        path: String,
    },
    /// The wanted device is there already, and is not ours.
    #[error("the pod has a device `{interface}` already: remove it, or add this network under another name")]
    InterfaceExists {
        /// Its name.
        interface: String,
    },
    /// Nobody has said which addresses pods have here.
    #[error("this node has no pod range yet: set `--pod-cidr`, or `podCIDRs` of its Node object")]
    NoCidrs,
    /// All addresses are in use.
    #[error("no pod address is free in {}: delete pods, or give the node another range", Ranges(.cidrs))]
    Exhausted {
        /// The ranges of the family that ran out.
        cidrs: Vec<IpNet>,
    },
    /// The kernel refused a device, address or route.
    #[error("the pod's device could not be set up or removed")]
    Wiring(#[from] netlink::Error),
    /// The kernel refused a setting.
    #[error("`{path}` could not be written")]
    Setting {
        /// The setting, below /proc/sys.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The data path refused the pod.
    #[error("the pod's programs could not be put in force or removed")]
    Programs(#[source] ProgramError),
    /// The list of pods could not be read or kept.
    #[error("the list of pods in `{path}` could not be read or written")]
    State {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The database of pods is not one.
    #[error(
        "the database of pods `{path}` cannot be read, and was left as it is: move it away to start without it; \
         running pods keep their addresses until they are deleted"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The database of pods could not be written.
    #[error("the database of pods `{path}` could not be written")]
    Database {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The queue of deletions could not be read or emptied.
    #[error("the deletions that wait in `{path}` could not be read or removed")]
    Deletions {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The list of pods is of another version of Fairway.
    #[error(
        "the list of pods in `{path}` has layout {found}, this agent knows {known}: use the agent that wrote it"
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// The layout it has.
        found: u32,
        /// The one that this agent writes.
        known: u32,
    },
    /// Nobody added this pod, or it has been deleted.
    #[error("container `{container_id}` has no device `{interface}` of this network")]
    Unknown {
        /// The runtime's id of the pod's sandbox.
        container_id: String,
        /// The device inside the pod.
        interface: String,
    },
    /// Something that was made for a pod is not there any more, or is something else.
    #[error("{what} `{subject}` is missing: delete the pod, so that it is made again")]
    Broken {
        /// What it is.
        what: &'static str,
        /// The device or address.
        subject: String,
    },
    /// A removal went on after errors, and did not get everything.
    #[error("{} steps of the removal failed: {}", .0.len(), Chains(.0))]
    Removal(Vec<Self>),
    /// A field of the request holds what it must not.
    #[error("the request's `{field}` is `{value}`, which it cannot be")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// Another pod has a port of the node that this one asks for.
    #[error(
        "the node's port {port}/{protocol} at {address} belongs to pod `{pod}` (container `{container_id}`): delete that \
         pod, or give one of the two another hostPort"
    )]
    HostPortTaken {
        /// The node's port.
        port: u16,
        /// Its protocol.
        protocol: &'static str,
        /// Where it was asked for.
        address: String,
        /// Who has it.
        pod: String,
        /// Its container.
        container_id: String,
    },
    /// An address that is to be released is in use.
    #[error("address `{address}` is in use by {owner}: delete that, or release the address by force")]
    Alive {
        /// The address.
        address: IpAddr,
        /// What has it.
        owner: String,
    },
    /// An address that is to be released is free.
    #[error("nothing on this node has address `{address}`")]
    FreeAlready {
        /// The address.
        address: IpAddr,
    },
    /// The agent was told to stop in the middle.
    #[error("the agent is stopping")]
    Stopping,
}

impl Error {
    /// The error code that the container runtime is told: CNI's own below 100, Fairway's from there on.
    #[must_use]
    pub fn cni_code(&self) -> u32 {
        match self {
            Self::Unknown { .. } | Self::FreeAlready { .. } => 3,
            Self::Missing(_) => 4,
            Self::State { .. }
            | Self::Damaged { .. }
            | Self::Database { .. }
            | Self::Deletions { .. }
            | Self::Layout { .. } => 5,
            Self::Invalid { .. } => 7,
            Self::Netns { .. } | Self::OwnNetns { .. } => 8,
            Self::NoCidrs | Self::Exhausted { .. } | Self::Stopping => 11,
            Self::InterfaceExists { .. } => 100,
            Self::Wiring(_) | Self::Setting { .. } => 101,
            Self::Programs(_) => 102,
            Self::Removal(_) => 103,
            Self::Broken { .. } => 104,
            Self::HostPortTaken { .. } => 105,
            Self::Alive { .. } => 106,
        }
    }
}

impl From<Exhausted> for Error {
    fn from(Exhausted { cidrs }: Exhausted) -> Self {
        Self::Exhausted { cidrs }
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

struct Ranges<'a>(&'a [IpNet]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, cidr) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}`{cidr}`")?;
        }
        Ok(())
    }
}

struct Chains<'a>(&'a [Error]);

impl fmt::Display for Chains<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chains: Vec<String> = self.0.iter().map(|error| chain(error)).collect();
        f.write_str(&chains.join("; "))
    }
}
