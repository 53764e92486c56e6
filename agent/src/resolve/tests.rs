//! The rules of SEMANTICS.md, one test a statement.

mod any_change;
mod endpoints;
mod frontends;
mod guard;
mod host_ports;
mod oracle;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fairway_proto::model::{
    Cluster, Endpoint, EndpointPort, EndpointSlice, Node, ObjectName, Protocol, Resource, Service,
    ServicePort, ServiceType, TrafficPolicy,
};

use super::*;

pub(super) const CLUSTER_IP: &str = "10.96.0.10";
pub(super) const CLUSTER_IP6: &str = "fd00:96::10";
pub(super) const NODE_IP: &str = "192.168.0.1";
pub(super) const PEER_IP: &str = "192.168.0.2";
pub(super) const LB_IP: &str = "203.0.113.9";
pub(super) const EXTERNAL_IP: &str = "198.51.100.9";
pub(super) const NODE_PORT: u16 = 30080;

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `default/web`, of every type at once: a load balancer with a node port and an external IP.
pub(super) fn web() -> Service {
    service("web", CLUSTER_IP)
}

pub(super) fn service(name: &str, cluster_ip: &str) -> Service {
    Service {
        name: ObjectName::new("default", name),
        service_type: ServiceType::LoadBalancer,
        cluster_ips: vec![ip(cluster_ip)],
        external_ips: vec![ip(EXTERNAL_IP)],
        load_balancer_ips: vec![ip(LB_IP)],
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(NODE_PORT),
        }],
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        affinity_seconds: None,
        source_ranges: vec![],
        publish_not_ready: false,
        traffic_distribution: None,
        annotations: BTreeMap::new(),
    }
}

/// A ready endpoint; the words change it: `unready`, `serving` (terminating), `dead` (terminating, silent).
pub(super) fn endpoint(address: &str, node: &str, state: &str) -> Endpoint {
    Endpoint {
        address: ip(address),
        ready: state == "ready",
        serving: matches!(state, "ready" | "serving"),
        terminating: matches!(state, "serving" | "dead"),
        node: Some(node.into()),
        zone: None,
        hint_zones: Box::default(),
        hint_nodes: Box::default(),
        pod: None,
    }
}

pub(super) fn slice(name: &str, port: u16, endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        name: ObjectName::new("default", name),
        service: ObjectName::new("default", "web"),
        ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port }],
        endpoints,
        last_change: None,
    }
}

pub(super) fn cluster(services: Vec<Service>, slices: Vec<EndpointSlice>) -> Cluster {
    let mut cluster = Cluster::default();
    services.into_iter().for_each(|service| cluster.insert(Resource::Service(service)));
    slices.into_iter().for_each(|slice| cluster.insert(Resource::EndpointSlice(slice)));
    for (name, address) in [("a", NODE_IP), ("b", PEER_IP)] {
        let node = Node {
            name: name.into(),
            addresses: vec![ip(address)],
            pod_cidrs: vec![],
            zone: None,
            object: None,
        };
        cluster.insert(Resource::Node(node));
    }
    cluster
}

/// Node `a`, which every test resolves for.
pub(super) fn node() -> LocalNode {
    LocalNode {
        name: "a".into(),
        addresses: vec![ip(NODE_IP)],
        zone: Some("z1".into()),
        ..LocalNode::default()
    }
}

pub(super) fn on(services: Vec<Service>, slices: Vec<EndpointSlice>) -> Desired {
    resolve(&cluster(services, slices), &node())
}

pub(super) fn key(address: &str, port: u16) -> FrontendKey {
    FrontendKey { address: ip(address), protocol: 6, port }
}

pub(super) fn names(set: &[BackendRef]) -> Vec<String> {
    set.iter().map(|backend| format!("{}:{}", backend.address, backend.port)).collect()
}

/// `inside | outside`, with what an empty set does.
pub(super) fn shown(desired: &Desired, key: FrontendKey) -> String {
    let Some(frontend) = desired.frontends.get(&key) else {
        return "not served".into();
    };
    let leave = |drops: u32| drops == Frontend::OUTSIDE_DROPS && frontend.flags & Frontend::INSIDE_ONLY != 0;
    let side = |set: &[BackendRef], drops: u32| {
        if leave(drops) {
            assert!(set.is_empty());
            return "leave".into();
        }
        if !set.is_empty() {
            return names(set).join(" ");
        }
        if frontend.flags & drops != 0 { "drop".into() } else { "reject".into() }
    };
    let keep = if frontend.flags & Frontend::KEEP_CLIENT != 0 { " keep-client" } else { "" };
    format!(
        "{} | {}{keep}",
        side(&frontend.inside, Frontend::INSIDE_DROPS),
        side(&frontend.outside, Frontend::OUTSIDE_DROPS)
    )
}
