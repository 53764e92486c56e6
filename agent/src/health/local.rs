//! Which endpoints are on this node, as far as load balancers and metrics ask.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fairway_proto::model::{Cluster, Endpoint, EndpointSlice, ObjectName, Service, TrafficPolicy};

use crate::resolve::LocalNode;

/// Slices by the Service that they belong to.
pub(super) struct Endpoints<'a> {
    slices: BTreeMap<&'a ObjectName, Vec<&'a EndpointSlice>>,
    node: &'a LocalNode,
}

impl<'a> Endpoints<'a> {
    pub(super) fn new(cluster: &'a Cluster, node: &'a LocalNode) -> Self {
        let mut slices: BTreeMap<_, Vec<&EndpointSlice>> = BTreeMap::new();
        // Without ports nothing is reachable there.
        for slice in cluster.slices.values().filter(|slice| !slice.ports.is_empty()) {
            slices.entry(&slice.service).or_default().push(slice);
        }
        Self { slices, node }
    }

    fn of(&self, service: &ObjectName) -> impl Iterator<Item = &'a Endpoint> {
        self.slices.get(service).into_iter().flatten().flat_map(|slice| &slice.endpoints)
    }

    fn is_local(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_deref() == Some(self.node.name.as_str())
            || self.node.addresses.contains(&endpoint.address)
    }

    /// How many addresses of this node are ready to serve it, by family: IPv4, IPv6.
    pub(super) fn ready_here(&self, service: &ObjectName) -> (usize, usize) {
        let ready = self.of(service).filter(|endpoint| endpoint.ready && self.is_local(endpoint));
        let addresses: BTreeSet<IpAddr> = ready.map(|endpoint| endpoint.address).collect();
        let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
        (v4, addresses.len() - v4)
    }

    /// It has endpoints that could be used, but none of them is on this node.
    fn only_elsewhere(&self, service: &ObjectName) -> bool {
        let usable = |endpoint: &&Endpoint| endpoint.ready || endpoint.serving && endpoint.terminating;
        let mut usable = self.of(service).filter(usable).peekable();
        usable.peek().is_some() && !usable.any(|endpoint| self.is_local(endpoint))
    }
}

/// How many Services have a policy Local and only endpoints elsewhere: by the internal and by the external policy.
pub(super) fn without_local_endpoints(cluster: &Cluster, node: &LocalNode) -> (u64, u64) {
    let endpoints = Endpoints::new(cluster, node);
    let local = |policy| policy == TrafficPolicy::Local;
    let (mut internal, mut external) = (0, 0);
    for service in cluster.services.values() {
        let [inside, outside] = [
            local(service.internal_policy) && !service.cluster_ips.is_empty(),
            local(service.external_policy) && from_outside(service),
        ];
        if (inside || outside) && endpoints.only_elsewhere(&service.name) {
            internal += u64::from(inside);
            external += u64::from(outside);
        }
    }
    (internal, external)
}

/// It has addresses that the external policy is for (S9).
fn from_outside(service: &Service) -> bool {
    service.ports.iter().any(|port| port.node_port.is_some())
        || !service.external_ips.is_empty()
        || !service.load_balancer_ips.is_empty()
}
