//! Which backends this node uses for which Service address: a pure function of the cluster and the node.

mod claims;
mod endpoints;
mod frontends;
mod host_ports;
mod places;
mod problem;
mod resolver;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub use fairway_datapath::table::{Frontend, FrontendKey, backend_flags};
use fairway_proto::model::{Cluster, ObjectName};
pub use host_ports::{HostPort, HostPorts};
use imbl::{OrdMap, OrdSet};
use ipnet::IpNet;
pub use problem::Problem;
pub use resolver::Resolver;

/// Which addresses of nodes have NodePorts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// All, and the loopback address of IPv4 for the node's own processes (S75).
    #[default]
    All,
    /// The first one of each family.
    Primary,
    /// Those in these ranges.
    In(Vec<IpNet>),
}

impl NodePortAddresses {
    /// The addresses among a node's that have NodePorts.
    pub fn among(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let first = |address: &&IpAddr| {
            addresses.iter().find(|it| it.is_ipv4() == address.is_ipv4()) == Some(*address)
        };
        let has = |address: &&IpAddr| match self {
            NodePortAddresses::All => true,
            NodePortAddresses::Primary => first(address),
            NodePortAddresses::In(ranges) => ranges.iter().any(|range| range.contains(*address)),
        };
        addresses.iter().filter(has).copied().collect()
    }

    /// Whether the node's own processes find NodePorts at 127.0.0.1.
    pub fn has_loopback(&self) -> bool {
        match self {
            NodePortAddresses::All => true,
            NodePortAddresses::Primary => false,
            NodePortAddresses::In(ranges) => ranges.iter().any(|range| range.contains(&LOOPBACK)),
        }
    }
}

/// The annotation of a Service that says how backends are picked: `random` (the default) or `maglev`.
pub const ALGORITHM: &str = "fairway.dev/algorithm";

/// Where NodePorts are for the node's own processes.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// This node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalNode {
    /// The Node object's name.
    pub name: String,
    /// Its addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Its zone.
    pub zone: Option<String>,
    /// Which addresses of nodes have NodePorts.
    pub node_port_addresses: NodePortAddresses,
    /// Its ports that lead to its pods.
    pub host_ports: HostPorts,
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
    /// A port of this node that leads to one of its pods; named by the pod, and not by a Service.
    HostPort,
}

impl FrontendKind {
    /// The name that every output uses.
    pub fn name(self) -> &'static str {
        match self {
            FrontendKind::ClusterIp => "ClusterIP",
            FrontendKind::NodePort => "NodePort",
            FrontendKind::LoadBalancer => "LoadBalancer",
            FrontendKind::ExternalIp => "ExternalIP",
            FrontendKind::HostPort => "HostPort",
        }
    }
}

/// A port of a Service, or of a pod that has ports of this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// The Service, or the pod.
    pub service: ObjectName,
    /// The port's name; may be empty.
    pub port: Arc<str>,
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
    /// [`backend_flags::LOCAL`] or nothing.
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
    /// Seconds for which a client keeps its backend; 0: no affinity (S63).
    pub affinity: u32,
    /// Endpoints that the Service's port has in all, usable or not.
    pub total_endpoints: u32,
}

/// What this node should serve. A clone costs nothing, and shares with it what stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Frontends by key.
    pub frontends: OrdMap<FrontendKey, Arc<DesiredFrontend>>,
    /// Cluster IPs: their other ports are refused (S35).
    pub addresses: OrdSet<IpAddr>,
    /// The endpoints of each Service port that answer, in use or not, sorted by address and port: their connections
    /// stay (S57).
    pub serving: OrdMap<ServicePortName, Arc<[BackendRef]>>,
    /// Who may use the guarded frontends of a Service port; a port without guarded ones is not there (S39).
    pub ranges: OrdMap<ServicePortName, Arc<[IpNet]>>,
    /// What is not served, and why: of Services, then of pods, by name.
    pub problems: Arc<[Problem]>,
}

/// Resolves the cluster for one node, from nothing.
pub fn resolve(cluster: &Cluster, node: &LocalNode) -> Desired {
    Resolver::default().resolve(cluster, node)
}
