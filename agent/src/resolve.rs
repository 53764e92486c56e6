//! Which backends this node uses for which Service address: a pure function of the cluster and the node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub use fairway_datapath::table::{Frontend, FrontendKey, backend_flags};
use fairway_proto::model::{Cluster, ObjectName};

/// This node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalNode {
    /// The Node object's name.
    pub name: String,
    /// Its addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Its zone.
    pub zone: Option<String>,
}

/// What kind of address a frontend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrontendKind {
    /// A cluster IP.
    ClusterIp,
    /// A node's address with the node port.
    NodePort,
    /// An address that a load balancer gave it.
    LoadBalancer,
    /// An external IP.
    ExternalIp,
}

impl FrontendKind {
    /// The name that every output uses.
    pub fn name(self) -> &'static str {
        match self {
            FrontendKind::ClusterIp => "ClusterIP",
            FrontendKind::NodePort => "NodePort",
            FrontendKind::LoadBalancer => "LoadBalancer",
            FrontendKind::ExternalIp => "ExternalIP",
        }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// The Service.
    pub service: ObjectName,
    /// The port's name; may be empty.
    pub port: String,
    /// IP protocol number.
    pub protocol: u8,
}

impl std::fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.port.is_empty() {
            write!(f, "{}", self.service)
        } else {
            write!(f, "{}:{}", self.service, self.port)
        }
    }
}

/// A backend of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendRef {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Bits of [`backend_flags`].
    pub flags: u16,
}

/// What a frontend should be. The sets are sorted by address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredFrontend {
    /// The Service's port.
    pub name: ServicePortName,
    /// What kind of address it is.
    pub kind: FrontendKind,
    /// Backends for clients of this node.
    pub inside: Arc<[BackendRef]>,
    /// Backends for clients from outside.
    pub outside: Arc<[BackendRef]>,
    /// Bits of [`Frontend`]'s constants.
    pub flags: u32,
    /// Endpoints that the Service's port has in all, usable or not.
    pub total_endpoints: u32,
}

/// Something in the cluster that is not served, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Two Services claim one address, port and protocol.
    #[error("`{loser}` is not served at {address} port {port}: `{winner}` has it; change one of the two")]
    Claimed {
        /// The Service port that is not served there.
        loser: ServicePortName,
        /// The one that is.
        winner: ServicePortName,
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// A protocol that the data path cannot translate.
    #[error("`{name}` is not served: Fairway does not translate SCTP")]
    Protocol {
        /// The Service port.
        name: ServicePortName,
    },
}

/// What this node should serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Frontends by key.
    pub frontends: BTreeMap<FrontendKey, DesiredFrontend>,
    /// What is not served, and why.
    pub problems: Vec<Problem>,
}

/// Resolves the cluster for one node.
pub fn resolve(_cluster: &Cluster, _node: &LocalNode) -> Desired {
    Desired::default()
}
