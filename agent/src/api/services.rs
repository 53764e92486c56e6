//! Service addresses and their backends, with the names that the cluster gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fairway_proto::model::TrafficPolicy;
use fairway_proto::node;

use super::directory::{Place, places};
use crate::resolve::{
    BackendRef, DesiredFrontend, Frontend, FrontendKey, FrontendKind, ServicePortName, backend_flags,
};
use crate::sync::SyncState;

type Places<'a> = BTreeMap<(IpAddr, u16), Place<'a>>;

/// All frontends, sorted by namespace, name, address, protocol, port.
pub(super) fn frontends(state: &SyncState) -> Vec<node::Frontend> {
    let places = places(state);
    let mut sorted: Vec<(&FrontendKey, &DesiredFrontend)> =
        state.desired.frontends.iter().map(|(key, frontend)| (key, &**frontend)).collect();
    sorted.sort_by_key(|(key, frontend)| (&frontend.name.service, key.address, key.protocol, key.port));
    sorted.into_iter().map(|(key, wanted)| frontend(state, &places, key, wanted)).collect()
}

fn frontend(
    state: &SyncState,
    places: &Places<'_>,
    key: &FrontendKey,
    wanted: &DesiredFrontend,
) -> node::Frontend {
    let id = state.service_ids.get(&wanted.name).copied().unwrap_or_default();
    let pod = wanted.kind == FrontendKind::HostPort;
    let line = |backend: &BackendRef| {
        let row = row(state, places, id, backend);
        if pod { of_this_node(row, state, &wanted.name) } else { row }
    };
    let set = |refs: &[BackendRef]| refs.iter().map(line).collect();
    let when_empty = |bit| if wanted.flags & bit != 0 { "drop" } else { "reject" }.to_owned();
    node::Frontend {
        namespace: wanted.name.service.namespace().to_owned(),
        name: wanted.name.service.name().to_owned(),
        port_name: wanted.name.port.to_string(),
        r#type: wanted.kind.name().to_owned(),
        address: key.address.to_string(),
        port: key.port.into(),
        protocol: key.protocol.into(),
        inside: set(&wanted.inside),
        outside: set(&wanted.outside),
        inside_when_empty: when_empty(Frontend::INSIDE_DROPS),
        outside_when_empty: match wanted.flags & Frontend::INSIDE_ONLY {
            0 => when_empty(Frontend::OUTSIDE_DROPS),
            _ => "pass".to_owned(),
        },
        total_endpoints: wanted.total_endpoints,
        id,
        keep_client: wanted.flags & Frontend::KEEP_CLIENT != 0,
        policy: policy(state, wanted),
    }
}

/// The traffic policy that holds for an address: the internal one for cluster IPs, else the external one. A hostPort has
/// none.
fn policy(state: &SyncState, wanted: &DesiredFrontend) -> String {
    if wanted.kind == FrontendKind::HostPort {
        return String::new();
    }
    let service = state.cluster.services.get(&wanted.name.service);
    let policy = service.map(|service| match wanted.kind {
        FrontendKind::ClusterIp => service.internal_policy,
        _ => service.external_policy,
    });
    match policy {
        Some(TrafficPolicy::Cluster) => "Cluster".to_owned(),
        Some(TrafficPolicy::Local) => "Local".to_owned(),
        None => String::new(),
    }
}

fn row(state: &SyncState, places: &Places<'_>, service: u32, backend: &BackendRef) -> node::Backend {
    let place = places.get(&(backend.address, backend.port));
    let key = (service, backend.address, backend.port);
    node::Backend {
        address: backend.address.to_string(),
        port: backend.port.into(),
        id: state.backend_ids.get(&key).copied().unwrap_or_default(),
        local: backend.flags & backend_flags::LOCAL != 0,
        node: place.map(Place::node).unwrap_or_default(),
        pod: place.map(Place::pod).unwrap_or_default(),
        state: place.map(Place::state).unwrap_or_default().to_owned(),
        services: Vec::new(),
    }
}

/// A backend of a hostPort: a pod of this node, which may be no endpoint of any Service.
fn of_this_node(row: node::Backend, state: &SyncState, pod: &ServicePortName) -> node::Backend {
    node::Backend { node: state.node.name.clone(), pod: pod.service.to_string(), ..row }
}

/// The backends of all Service ports, sorted by address, port and Service port: each has an id of its own there.
pub(super) fn backends(state: &SyncState) -> Vec<node::Backend> {
    let places = places(state);
    let mut found: BTreeSet<(BackendRef, &ServicePortName, bool)> = BTreeSet::new();
    for frontend in state.desired.frontends.values() {
        for backend in frontend.inside.iter().chain(frontend.outside.iter()) {
            found.insert((*backend, &frontend.name, frontend.kind == FrontendKind::HostPort));
        }
    }
    let with_service = |(backend, name, pod): (BackendRef, &ServicePortName, bool)| {
        let id = state.service_ids.get(name).copied().unwrap_or_default();
        let row = node::Backend { services: vec![name.to_string()], ..row(state, &places, id, &backend) };
        if pod { of_this_node(row, state, name) } else { row }
    };
    found.into_iter().map(with_service).collect()
}

#[cfg(test)]
mod tests;
