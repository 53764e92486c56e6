//! Which endpoints of a Service's port are usable, in the whole cluster and on this node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fairway_proto::model::{Endpoint, EndpointSlice, Service, ServicePort};

use super::{BackendRef, LocalNode, backend_flags};

/// The usable endpoints of one Service port and one address family, sorted by address and port.
#[derive(Clone, Debug)]
pub(super) struct Usable {
    /// Of the whole cluster, as far as this node should use them.
    pub(super) cluster: Arc<[BackendRef]>,
    /// Of this node.
    pub(super) local: Arc<[BackendRef]>,
    /// Those that answer, in use or not.
    pub(super) serving: Vec<BackendRef>,
    /// Hints keep this node from some of the cluster's: other nodes may use others.
    pub(super) narrowed: bool,
    /// There are usable endpoints somewhere.
    pub(super) any: bool,
    /// Endpoints in all, usable or not.
    pub(super) total: u32,
}

/// One endpoint at one port.
struct Candidate<'a> {
    endpoint: &'a Endpoint,
    backend: BackendRef,
    ready: bool,
}

impl Candidate<'_> {
    fn local(&self) -> bool {
        self.backend.flags & backend_flags::LOCAL != 0
    }

    /// Its connections stay (S57).
    fn answers(&self) -> bool {
        self.ready || self.endpoint.serving
    }

    /// The fallback when nothing is ready: it is being stopped, but still answers.
    fn last_resort(&self) -> bool {
        self.endpoint.serving && self.endpoint.terminating
    }
}

/// Picks the usable endpoints of `port` in the family that `in_family` accepts.
pub(super) fn usable(
    service: &Service,
    port: &ServicePort,
    slices: &[&EndpointSlice],
    node: &LocalNode,
    in_family: impl Fn(&IpAddr) -> bool,
) -> Usable {
    let candidates: Vec<Candidate<'_>> = distinct(port, slices, in_family)
        .into_iter()
        .map(|((address, port), endpoint)| Candidate {
            endpoint,
            backend: BackendRef { address, port, flags: flags(endpoint, node) },
            ready: endpoint.ready || service.publish_not_ready,
        })
        .collect();
    let cluster = pick(&candidates, topology(&candidates, node));
    let local = pick(&candidates, |candidate| candidate.local());
    let ready = candidates.iter().filter(|candidate| candidate.ready).count();
    let narrowed = ready > 0 && cluster.len() != ready;
    let any = candidates.iter().any(|candidate| candidate.ready || candidate.last_resort());
    let serving =
        candidates.iter().filter(|candidate| candidate.answers()).map(|candidate| candidate.backend);
    Usable {
        cluster,
        local,
        serving: serving.collect(),
        narrowed,
        any,
        total: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
    }
}

/// The endpoints by address and port. One that stands there twice (its address was given to a new pod while
/// the old one is being stopped) counts once: the one that is not terminating, then the one that is ready.
fn distinct<'a>(
    port: &ServicePort,
    slices: &[&'a EndpointSlice],
    in_family: impl Fn(&IpAddr) -> bool,
) -> BTreeMap<(IpAddr, u16), &'a Endpoint> {
    let rank = |endpoint: &Endpoint| (endpoint.terminating, !endpoint.ready, !endpoint.serving);
    let mut endpoints = BTreeMap::new();
    for slice in slices {
        let same = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
        for number in same.map(|p| p.port) {
            for endpoint in slice.endpoints.iter().filter(|endpoint| in_family(&endpoint.address)) {
                endpoints
                    .entry((endpoint.address, number))
                    .and_modify(|known: &mut &Endpoint| {
                        if rank(endpoint) < rank(known) {
                            *known = endpoint;
                        }
                    })
                    .or_insert(endpoint);
            }
        }
    }
    endpoints
}

fn flags(endpoint: &Endpoint, node: &LocalNode) -> u16 {
    let local =
        endpoint.node.as_deref() == Some(node.name.as_str()) || node.addresses.contains(&endpoint.address);
    if local { backend_flags::LOCAL } else { 0 }
}

/// The ready ones that `wanted` accepts; if there is none, those that are being stopped but still answer.
fn pick<'a>(
    candidates: &[Candidate<'a>],
    wanted: impl Fn(&Candidate<'a>) -> bool + Clone,
) -> Arc<[BackendRef]> {
    let backends = |usable: &dyn Fn(&Candidate<'a>) -> bool| -> Arc<[BackendRef]> {
        candidates.iter().filter(|c| wanted(c) && usable(c)).map(|c| c.backend).collect()
    };
    let ready = backends(&|candidate| candidate.ready);
    if ready.is_empty() { backends(&|candidate| candidate.last_resort()) } else { ready }
}

/// What the hints of the ready endpoints say: node first, then zone, then all.
#[derive(Clone, Copy)]
enum Topology {
    Node,
    Zone,
    All,
}

/// Whether this node should use an endpoint, by the hints. Hints count only if every ready endpoint has some.
fn topology<'a>(
    candidates: &[Candidate<'a>],
    node: &LocalNode,
) -> impl Fn(&Candidate<'a>) -> bool + Clone + use<'a> {
    let ready = || candidates.iter().filter(|candidate| candidate.ready).map(|candidate| candidate.endpoint);
    let name = node.name.clone();
    let zone = node.zone.clone();
    let for_node = move |endpoint: &Endpoint| endpoint.hint_nodes.contains(&name);
    let for_zone = move |endpoint: &Endpoint| zone.as_ref().is_some_and(|z| endpoint.hint_zones.contains(z));
    let mode = if ready().all(|e| !e.hint_nodes.is_empty()) && ready().any(&for_node) {
        Topology::Node
    } else if ready().all(|e| !e.hint_zones.is_empty()) && ready().any(&for_zone) {
        Topology::Zone
    } else {
        Topology::All
    };
    move |candidate| match mode {
        // The last resort does not look at hints.
        _ if !candidate.ready => true,
        Topology::Node => for_node(candidate.endpoint),
        Topology::Zone => for_zone(candidate.endpoint),
        Topology::All => true,
    }
}
