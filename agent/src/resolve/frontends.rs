//! The addresses and ports at which a Service is reachable, and the sets that each of them uses.

use std::net::IpAddr;
use std::sync::Arc;

use fairway_proto::model::{EndpointSlice, Protocol, Service, ServicePort, ServiceType, TrafficPolicy};
use ipnet::IpNet;

use super::endpoints::{Usable, usable};
use super::places::Places;
use super::{
    ALGORITHM, BackendRef, DesiredFrontend, Frontend, FrontendKey, FrontendKind, LOOPBACK, LocalNode,
    Problem, ServicePortName,
};

/// What one Service asks for. Whether it gets each address does not lie with it alone: see [`super::claims`].
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Frontends in the order of its ports. A key may stand there more than once: the first counts.
    pub(super) claims: Vec<(FrontendKey, Arc<DesiredFrontend>)>,
    /// Its cluster IPs.
    pub(super) addresses: Vec<IpAddr>,
    /// As in [`Desired`](super::Desired).
    pub(super) serving: Vec<(ServicePortName, Arc<[BackendRef]>)>,
    /// As in [`Desired`](super::Desired).
    pub(super) ranges: Vec<(ServicePortName, Arc<[IpNet]>)>,
    /// What is wrong with it, whatever other Services ask for.
    pub(super) problems: Vec<Problem>,
}

impl Part {
    /// Without room to spare: it is kept for as long as the Service.
    fn exact(mut self) -> Self {
        self.claims.shrink_to_fit();
        self.serving.shrink_to_fit();
        self
    }
}

/// The expansion of one Service into frontends: a function of these four.
pub(super) struct Expansion<'a> {
    pub(super) service: &'a Service,
    pub(super) slices: &'a [&'a EndpointSlice],
    pub(super) node: &'a LocalNode,
    pub(super) places: &'a Places,
    pub(super) part: Part,
}

/// What a frontend uses, apart from where it is.
#[derive(Clone)]
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
                Self::same(&usable.local, flags | Frontend::INSIDE_LOCAL, usable.total)
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

    /// For clients of this node only.
    fn inside_only(&self, nobody: &'a Arc<[BackendRef]>) -> Self {
        let sides = Frontend::KEEP_CLIENT | Frontend::OUTSIDE_DROPS;
        let flags = self.flags & !sides | Frontend::INSIDE_ONLY;
        Self { inside: self.inside, outside: nobody, flags, total: self.total }
    }

    fn with(&self, flags: u32) -> Self {
        Self { flags: self.flags | flags, ..self.clone() }
    }
}

impl Expansion<'_> {
    pub(super) fn run(mut self) -> Part {
        let headless = self.service.cluster_ips.is_empty();
        if headless || self.service.service_type == ServiceType::ExternalName {
            return self.part;
        }
        self.part.addresses.extend(&self.service.cluster_ips);
        let hashed = self.hashed();
        for port in &self.service.ports {
            let name = ServicePortName {
                service: self.service.name.clone(),
                port: port.name.as_str().into(),
                protocol: port.protocol as u8,
            };
            if port.protocol == Protocol::Sctp {
                self.part.problems.push(Problem::Sctp { name });
                continue;
            }
            let mut serving = Vec::new();
            let mut ranges = Vec::new();
            for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
                // As with kube-proxy, a Service without a cluster IP of a family has nothing in it.
                if self.service.cluster_ips.iter().any(family) {
                    let allowed = self.ranges(family);
                    let guarded = if allowed.is_empty() { 0 } else { Frontend::RANGES };
                    serving.extend(self.family(&name, port, family, [hashed, guarded]));
                    ranges.extend(allowed);
                }
            }
            if !ranges.is_empty() {
                self.part.ranges.push((name.clone(), ranges.into()));
            }
            // Most often all that answer are in use: one set for both.
            let used = self.part.claims.last().map(|(_, frontend)| frontend.inside.clone());
            let serving = used.filter(|used| **used == *serving).unwrap_or_else(|| serving.into());
            self.part.serving.push((name, serving));
        }
        self.part.exact()
    }

    /// The flag of the algorithm that the Service asks for.
    fn hashed(&mut self) -> u32 {
        match self.service.annotations.get(ALGORITHM).map(String::as_str) {
            None | Some("random") => 0,
            Some("maglev") => Frontend::HASHED,
            Some(value) => {
                let (service, value) = (self.service.name.clone(), value.to_owned());
                self.part.problems.push(Problem::Algorithm { service, value });
                0
            }
        }
    }

    /// Who may use the load balancer's addresses of a family; empty: everybody. As with kube-proxy each family stands
    /// for itself: without a range of its own, or with one of everything, it is open (S19, S20).
    ///
    /// Where the load balancer's address is one of the node as well, the node's own connections have it as source
    /// (S39).
    fn ranges(&self, family: fn(&IpAddr) -> bool) -> Vec<IpNet> {
        let addresses = || self.load_balancer_ips().iter().copied().filter(family);
        let in_family = self.service.source_ranges.iter().filter(|range| family(&range.addr()));
        let mut ranges: Vec<IpNet> = in_family.map(IpNet::trunc).collect();
        if addresses().next().is_none() || ranges.iter().any(|range| range.prefix_len() == 0) {
            return Vec::new();
        }
        if self.node.addresses.iter().any(|address| ranges.iter().any(|range| range.contains(address))) {
            ranges.extend(addresses().map(IpNet::from));
        }
        ranges.sort_unstable();
        ranges.dedup();
        ranges
    }

    fn load_balancer_ips(&self) -> &[IpAddr] {
        match self.service.service_type {
            ServiceType::LoadBalancer => &self.service.load_balancer_ips,
            _ => &[],
        }
    }

    /// The frontends of one family; returns the endpoints that answer.
    fn family(
        &mut self,
        name: &ServicePortName,
        port: &ServicePort,
        family: fn(&IpAddr) -> bool,
        [hashed, guarded]: [u32; 2],
    ) -> Vec<BackendRef> {
        let service = self.service;
        let usable = usable(service, port, self.slices, self.node, family);
        let internal = Sets::cluster_ip(service.internal_policy, &usable).with(hashed);
        let external = Sets::external(service.external_policy, &usable).with(hashed);
        for address in service.cluster_ips.iter().copied().filter(family) {
            self.add(name, FrontendKind::ClusterIp, (address, port.port), &internal);
        }
        self.node_ports(name, port, family, &external);
        let same_everywhere = hashed != 0
            && service.external_policy == TrafficPolicy::Cluster
            && service.affinity_seconds.is_none()
            && !usable.narrowed;
        let external = external.with(if same_everywhere { Frontend::DIRECT } else { 0 });
        for address in self.load_balancer_ips().to_vec().into_iter().filter(family) {
            self.add(name, FrontendKind::LoadBalancer, (address, port.port), &external.with(guarded));
        }
        for address in service.external_ips.iter().copied().filter(family) {
            self.add(name, FrontendKind::ExternalIp, (address, port.port), &external);
        }
        usable.serving
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
        let places = self.places;
        for address in places.own.iter().copied().filter(family) {
            self.add(name, FrontendKind::NodePort, (address, number), external);
        }
        // With policy Local it is the other node that decides, by its own endpoints (S26).
        let peers = match self.service.external_policy {
            TrafficPolicy::Cluster => places.peers(),
            TrafficPolicy::Local => &[],
        };
        let inside_only = external.inside_only(&places.nobody);
        let loopback = places.loopback.then_some(LOOPBACK);
        for address in peers.iter().copied().chain(loopback).filter(family) {
            self.add(name, FrontendKind::NodePort, (address, number), &inside_only);
        }
    }

    fn add(&mut self, name: &ServicePortName, kind: FrontendKind, at: (IpAddr, u16), sets: &Sets<'_>) {
        let (address, port) = at;
        let frontend = DesiredFrontend {
            name: name.clone(),
            kind,
            inside: sets.inside.clone(),
            outside: sets.outside.clone(),
            flags: sets.flags,
            affinity: self.service.affinity_seconds.unwrap_or(0),
            total_endpoints: sets.total,
        };
        let key = FrontendKey { address, protocol: name.protocol, port };
        self.part.claims.push((key, Arc::new(frontend)));
    }
}
