//! The addresses and ports at which a Service is reachable, and the sets that each of them uses.

use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use fairway_common::limits;
use fairway_proto::model::{
    Cluster, EndpointSlice, Protocol, Service, ServicePort, ServiceType, TrafficPolicy,
};

use super::endpoints::{Usable, usable};
use super::{
    BackendRef, Desired, DesiredFrontend, Frontend, FrontendKey, FrontendKind, LocalNode, Problem,
    ServicePortName,
};

/// Addresses of the other nodes, at which this node answers for NodePorts of external policy Cluster.
///
/// None if that would fill the table: those packets then go to the other node, which answers as well.
pub(super) fn peer_addresses(cluster: &Cluster, node: &LocalNode) -> Vec<IpAddr> {
    let peers: Vec<IpAddr> = cluster
        .nodes
        .values()
        .filter(|other| other.name != node.name)
        .flat_map(|other| other.addresses.iter().copied())
        .filter(|address| !node.addresses.contains(address))
        .collect();
    let node_ports: usize = cluster
        .services
        .values()
        .map(|service| service.ports.iter().filter(|port| port.node_port.is_some()).count())
        .sum();
    if peers.len() * node_ports > limits::FRONTENDS as usize / 2 { Vec::new() } else { peers }
}

/// The expansion of one Service into frontends.
pub(super) struct Expansion<'a> {
    pub(super) service: &'a Service,
    pub(super) slices: &'a [&'a EndpointSlice],
    pub(super) node: &'a LocalNode,
    pub(super) peers: &'a [IpAddr],
    pub(super) desired: &'a mut Desired,
}

/// What a frontend uses, apart from where it is.
struct Sets<'a> {
    inside: &'a Arc<[BackendRef]>,
    outside: &'a Arc<[BackendRef]>,
    flags: u32,
    total: u32,
}

impl<'a> Sets<'a> {
    /// One set for everybody.
    fn same(set: &'a Arc<[BackendRef]>, flags: u32, total: u32) -> Self {
        Self { inside: set, outside: set, flags, total }
    }

    fn cluster_ip(policy: TrafficPolicy, usable: &'a Usable) -> Self {
        match policy {
            TrafficPolicy::Cluster => Self::same(&usable.cluster, 0, usable.total),
            TrafficPolicy::Local => {
                let drops = Frontend::INSIDE_DROPS | Frontend::OUTSIDE_DROPS;
                let flags = if usable.local.is_empty() && usable.any { drops } else { 0 };
                Self::same(&usable.local, flags, usable.total)
            }
        }
    }

    /// Clients of this node always use the whole cluster's endpoints.
    fn external(policy: TrafficPolicy, usable: &'a Usable) -> Self {
        match policy {
            TrafficPolicy::Cluster => Self::same(&usable.cluster, 0, usable.total),
            TrafficPolicy::Local => {
                let drops = usable.local.is_empty() && usable.any;
                let flags = Frontend::KEEP_CLIENT | if drops { Frontend::OUTSIDE_DROPS } else { 0 };
                Self { inside: &usable.cluster, outside: &usable.local, flags, total: usable.total }
            }
        }
    }
}

impl Expansion<'_> {
    pub(super) fn run(mut self) {
        let headless = self.service.cluster_ips.is_empty();
        if headless || self.service.service_type == ServiceType::ExternalName {
            return;
        }
        for port in &self.service.ports {
            let name = ServicePortName {
                service: self.service.name.clone(),
                port: port.name.clone(),
                protocol: port.protocol as u8,
            };
            if port.protocol == Protocol::Sctp {
                self.desired.problems.push(Problem::Sctp { name });
                continue;
            }
            if self.service.affinity_seconds.is_some() {
                self.desired.problems.push(Problem::Affinity { name: name.clone() });
            }
            if self.restricted() {
                self.desired.problems.push(Problem::SourceRanges { name: name.clone() });
            }
            self.family(&name, port, IpAddr::is_ipv4);
            self.family(&name, port, IpAddr::is_ipv6);
        }
    }

    /// Whether source ranges guard the load balancer's addresses. A range of everything is none.
    fn restricted(&self) -> bool {
        let ranges = &self.service.source_ranges;
        !self.load_balancer_ips().is_empty()
            && !ranges.is_empty()
            && !ranges.iter().any(|range| range.prefix_len() == 0)
    }

    fn load_balancer_ips(&self) -> &[IpAddr] {
        match self.service.service_type {
            ServiceType::LoadBalancer => &self.service.load_balancer_ips,
            _ => &[],
        }
    }

    fn family(&mut self, name: &ServicePortName, port: &ServicePort, family: fn(&IpAddr) -> bool) {
        let service = self.service;
        let usable = usable(service, port, self.slices, self.node, family);
        let internal = Sets::cluster_ip(service.internal_policy, &usable);
        let external = Sets::external(service.external_policy, &usable);
        for address in service.cluster_ips.iter().copied().filter(family) {
            self.add(name, FrontendKind::ClusterIp, (address, port.port), &internal);
        }
        self.node_ports(name, port, family, &external);
        if !self.restricted() {
            for address in self.load_balancer_ips().to_vec().into_iter().filter(family) {
                self.add(name, FrontendKind::LoadBalancer, (address, port.port), &external);
            }
        }
        for address in service.external_ips.iter().copied().filter(family) {
            self.add(name, FrontendKind::ExternalIp, (address, port.port), &external);
        }
    }

    fn node_ports(
        &mut self,
        name: &ServicePortName,
        port: &ServicePort,
        family: fn(&IpAddr) -> bool,
        external: &Sets<'_>,
    ) {
        let has_node_ports =
            matches!(self.service.service_type, ServiceType::NodePort | ServiceType::LoadBalancer);
        let Some(number) = port.node_port.filter(|_| has_node_ports) else {
            return;
        };
        // With policy Local it is the other node that decides, by its own endpoints.
        let peers = match self.service.external_policy {
            TrafficPolicy::Cluster => self.peers,
            TrafficPolicy::Local => &[],
        };
        for address in self.node.addresses.iter().chain(peers).copied().filter(family) {
            self.add(name, FrontendKind::NodePort, (address, number), external);
        }
    }

    fn add(&mut self, name: &ServicePortName, kind: FrontendKind, at: (IpAddr, u16), sets: &Sets<'_>) {
        let (address, port) = at;
        match self.desired.frontends.entry(FrontendKey { address, protocol: name.protocol, port }) {
            Entry::Vacant(entry) => {
                entry.insert(DesiredFrontend {
                    name: name.clone(),
                    kind,
                    inside: sets.inside.clone(),
                    outside: sets.outside.clone(),
                    flags: sets.flags,
                    total_endpoints: sets.total,
                });
            }
            // One address in two fields of one Service.
            Entry::Occupied(entry) if entry.get().name == *name => {}
            Entry::Occupied(entry) => self.desired.problems.push(Problem::Claimed {
                loser: name.clone(),
                winner: entry.get().name.clone(),
                address,
                port,
            }),
        }
    }
}
