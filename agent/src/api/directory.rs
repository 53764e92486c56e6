//! Names for the numbers in the kernel's tables.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use fairway_proto::model::Endpoint;

use crate::pods::PodEntry;
use crate::sync::SyncState;

/// Names of Services by id, of pods by address, of devices by index.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    services: HashMap<u32, String>,
    pods: HashMap<IpAddr, String>,
    devices: HashMap<u32, String>,
}

impl Directory {
    /// What the cluster's state and this node's pods tell. A pod of this node wins over an endpoint's word.
    pub(super) fn new(state: &SyncState, pods: &[PodEntry]) -> Self {
        let services = state.service_ids.iter().map(|(name, id)| (*id, name.to_string())).collect();
        let endpoints = state.cluster.slices.values().flat_map(|slice| &slice.endpoints);
        let remote = endpoints.filter_map(|end| end.pod.as_ref().map(|pod| (end.address, pod.to_string())));
        let local = pods.iter().filter(|pod| !pod.name.is_empty()).flat_map(|pod| {
            let name = format!("{}/{}", pod.namespace, pod.name);
            pod.addresses.iter().map(move |address| (*address, name.clone()))
        });
        let devices = pods.iter().map(|pod| (pod.ifindex, pod.node_interface.clone())).collect();
        Self { services, pods: remote.chain(local).collect(), devices }
    }

    /// `namespace/name:port` of a Service port.
    pub(super) fn service(&self, id: u32) -> Option<&str> {
        self.services.get(&id).map(String::as_str)
    }

    /// `namespace/name` of a pod.
    pub(super) fn pod(&self, address: IpAddr) -> Option<&str> {
        self.pods.get(&address).map(String::as_str)
    }

    /// The name of a device.
    pub(super) fn device(&self, ifindex: u32) -> Option<&str> {
        self.devices.get(&ifindex).map(String::as_str)
    }

    /// Asks the kernel for a device that is not known yet.
    pub(super) fn learn_device(&mut self, ifindex: u32) {
        if ifindex != 0 && !self.devices.contains_key(&ifindex) {
            let name = nix::net::if_::if_indextoname(ifindex).ok();
            let name =
                name.map_or_else(|| format!("if{ifindex}"), |name| name.to_string_lossy().into_owned());
            self.devices.insert(ifindex, name);
        }
    }

    /// Whether a Service, or a port of one, is served under this name.
    pub(super) fn has_service(&self, wanted: &str) -> bool {
        self.services.values().any(|name| is_service(name, wanted))
    }

    /// Whether a pod of this name is known.
    pub(super) fn has_pod(&self, wanted: &str) -> bool {
        self.pods.values().any(|name| name == wanted)
    }
}

/// Whether a Service port's name is the wanted one: `namespace/name` means all ports.
pub(super) fn is_service(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// What the cluster says of an address and port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    endpoint: &'a Endpoint,
}

impl Place<'_> {
    /// The node it runs on; empty: outside the cluster.
    pub(super) fn node(&self) -> String {
        self.endpoint.node.as_deref().unwrap_or_default().to_owned()
    }

    /// `namespace/name` of the pod; empty: not a pod.
    pub(super) fn pod(&self) -> String {
        self.endpoint.pod.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// ready, terminating or not-ready.
    pub(super) fn state(&self) -> &'static str {
        match (self.endpoint.terminating, self.endpoint.ready) {
            (true, _) => "terminating",
            (false, true) => "ready",
            (false, false) => "not-ready",
        }
    }
}

/// All places where endpoints listen. Of two endpoints in one place the one that is not being stopped counts.
pub(super) fn places(state: &SyncState) -> BTreeMap<(IpAddr, u16), Place<'_>> {
    let mut places: BTreeMap<(IpAddr, u16), Place<'_>> = BTreeMap::new();
    for slice in state.cluster.slices.values() {
        let ports: BTreeSet<u16> = slice.ports.iter().map(|port| port.port).collect();
        for (endpoint, port) in
            slice.endpoints.iter().flat_map(|end| ports.iter().map(move |port| (end, *port)))
        {
            let rank = |endpoint: &Endpoint| (endpoint.ready, !endpoint.terminating);
            let place = places.entry((endpoint.address, port)).or_insert(Place { endpoint });
            if rank(endpoint) > rank(place.endpoint) {
                place.endpoint = endpoint;
            }
        }
    }
    places
}
