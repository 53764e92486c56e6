//! The validated model: what the agent computes with. Every address is parsed, every name is checked.

mod decode;
mod encode;
mod name;
#[cfg(test)]
mod tests;
mod unknown;

pub use decode::{Change, InvalidResource};
pub use name::ObjectName;
pub use unknown::{Unknown, unknown};

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use imbl::OrdMap;
use ipnet::IpNet;

pub use crate::control::Protocol;

/// A Service's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceType {
    /// Reachable inside the cluster.
    ClusterIp,
    /// Also by a port of every node.
    NodePort,
    /// Also by addresses that a load balancer gave it.
    LoadBalancer,
    /// A DNS name: nothing for the data path.
    ExternalName,
}

/// internalTrafficPolicy and externalTrafficPolicy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All endpoints.
    #[default]
    Cluster,
    /// Endpoints on the node that the client or packet is on.
    Local,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ObjectName,
    /// Its type.
    pub service_type: ServiceType,
    /// Cluster IPs, at most one of each family; empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// External IPs.
    pub external_ips: Vec<IpAddr>,
    /// Addresses from the load balancer's status.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Its ports; no two share name, or protocol and port.
    pub ports: Vec<ServicePort>,
    /// For cluster IPs.
    pub internal_policy: TrafficPolicy,
    /// For NodePorts, load balancer and external IPs.
    pub external_policy: TrafficPolicy,
    /// Where load balancers ask for local endpoints.
    pub health_check_node_port: Option<u16>,
    /// Session affinity by client address, in seconds.
    pub affinity_seconds: Option<u32>,
    /// Who may use the load balancer's addresses; empty: everybody.
    pub source_ranges: Vec<IpNet>,
    /// Endpoints that are not ready count as ready.
    pub publish_not_ready: bool,
    /// trafficDistribution.
    pub traffic_distribution: Option<String>,
    /// Annotations with the prefix `fairway.dev/`.
    pub annotations: BTreeMap<String, String>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// May be empty when the Service has one port.
    pub name: String,
    /// IP protocol.
    pub protocol: Protocol,
    /// Port of the cluster, external and load balancer IPs.
    pub port: u16,
    /// Port of every node.
    pub node_port: Option<u16>,
}

/// A slice of a Service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its own name.
    pub name: ObjectName,
    /// The Service it belongs to.
    pub service: ObjectName,
    /// Ports that all its endpoints have.
    pub ports: Vec<EndpointPort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// When the change happened that it was last written for.
    pub last_change: Option<SystemTime>,
}

/// A port of a slice's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// The Service port's name.
    pub name: String,
    /// IP protocol.
    pub protocol: Protocol,
    /// Port of the endpoints.
    pub port: u16,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// New connections are welcome.
    pub ready: bool,
    /// It answers, ready or terminating.
    pub serving: bool,
    /// It is being stopped.
    pub terminating: bool,
    /// Where it runs; none: outside the cluster.
    pub node: Option<Box<str>>,
    /// Its zone.
    pub zone: Option<Box<str>>,
    /// Zones that should use it.
    pub hint_zones: Box<[String]>,
    /// Nodes that should use it.
    pub hint_nodes: Box<[String]>,
    /// The pod behind it.
    pub pod: Option<ObjectName>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Where its pods' addresses come from.
    pub pod_cidrs: Vec<IpNet>,
    /// Its zone.
    pub zone: Option<String>,
    /// What its Node object says; none: only its agent has told of it, or the object was deleted.
    pub object: Option<NodeObject>,
}

/// What decides whether load balancers should send new connections to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeObject {
    /// It is being deleted.
    pub deleting: bool,
    /// Keys of its taints.
    pub taints: Vec<String>,
}

/// Names a resource of any kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKey {
    /// A Service.
    Service(ObjectName),
    /// A slice, by its own name.
    EndpointSlice(ObjectName),
    /// A node.
    Node(String),
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourceKey::Service(name) => write!(f, "Service {name}"),
            ResourceKey::EndpointSlice(name) => write!(f, "EndpointSlice {name}"),
            ResourceKey::Node(name) => write!(f, "Node {name}"),
        }
    }
}

/// A resource of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A Service.
    Service(Service),
    /// A slice.
    EndpointSlice(EndpointSlice),
    /// A node.
    Node(Node),
}

impl Resource {
    /// Its name.
    pub fn key(&self) -> ResourceKey {
        match self {
            Resource::Service(service) => ResourceKey::Service(service.name.clone()),
            Resource::EndpointSlice(slice) => ResourceKey::EndpointSlice(slice.name.clone()),
            Resource::Node(node) => ResourceKey::Node(node.name.clone()),
        }
    }
}

/// The whole cluster, as one node sees it.
///
/// Its maps share what they have in common with their clones: a clone costs nothing, and the difference between two
/// states is found without looking at what is the same in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Services by name.
    pub services: OrdMap<ObjectName, Arc<Service>>,
    /// Slices by their own name.
    pub slices: OrdMap<ObjectName, Arc<EndpointSlice>>,
    /// Nodes by name.
    pub nodes: OrdMap<String, Arc<Node>>,
}

impl Cluster {
    /// Adds or replaces a resource.
    pub fn insert(&mut self, resource: Resource) {
        match resource {
            Resource::Service(service) => {
                drop(self.services.insert(service.name.clone(), Arc::new(service)));
            }
            Resource::EndpointSlice(slice) => drop(self.slices.insert(slice.name.clone(), Arc::new(slice))),
            Resource::Node(node) => drop(self.nodes.insert(node.name.clone(), Arc::new(node))),
        }
    }

    /// Removes a resource; one that is not there stays not there.
    pub fn remove(&mut self, key: &ResourceKey) {
        match key {
            ResourceKey::Service(name) => drop(self.services.remove(name)),
            ResourceKey::EndpointSlice(name) => drop(self.slices.remove(name)),
            ResourceKey::Node(name) => drop(self.nodes.remove(name)),
        }
    }
}
