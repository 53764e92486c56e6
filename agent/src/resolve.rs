//! Which backends this node uses for which Service address: a pure function of the cluster and the node.

mod endpoints;
mod frontends;
mod problem;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub use fairway_datapath::table::{Frontend, FrontendKey, backend_flags};
use fairway_proto::model::{Cluster, EndpointSlice, ObjectName};
pub use problem::Problem;

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

/// What this node should serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Frontends by key.
    pub frontends: BTreeMap<FrontendKey, DesiredFrontend>,
    /// What is not served, and why.
    pub problems: Vec<Problem>,
}

/// Resolves the cluster for one node.
pub fn resolve(cluster: &Cluster, node: &LocalNode) -> Desired {
    let mut slices: BTreeMap<&ObjectName, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in cluster.slices.values() {
        slices.entry(&slice.service).or_default().push(slice);
    }
    let peers = frontends::peer_addresses(cluster, node);
    let mut desired = Desired::default();
    // By name: who comes first keeps an address that a second one claims.
    for service in cluster.services.values() {
        let slices = slices.get(&service.name).map(Vec::as_slice).unwrap_or_default();
        frontends::Expansion { service, slices, node, peers: &peers, desired: &mut desired }.run();
    }
    desired
}
