//! Which endpoints of a Service port are used, from the whole cluster and from the node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::Family;

/// An endpoint, as its address and port.
pub(in crate::peer) type Target = (IpAddr, u16);

/// The endpoints of a Service port that are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::peer) struct Endpoints {
    pub(in crate::peer) cluster: Vec<Target>,
    /// Those of the node, decided for themselves.
    pub(in crate::peer) local: Vec<Target>,
}

#[derive(Clone, Copy)]
struct Known {
    ready: bool,
    serving: bool,
    terminating: bool,
    local: bool,
}

/// Reads the slices of the Service for one of its ports.
pub(in crate::peer) fn endpoints(
    slices: &[&EndpointSlice],
    port: Option<&str>,
    protocol: &str,
    family: Family,
    node: &str,
) -> Endpoints {
    let mut known = BTreeMap::<Target, Known>::new();
    for slice in slices {
        let numbers = slice.ports.iter().flatten().filter(|declared| {
            declared.name.as_deref().unwrap_or_default() == port.unwrap_or_default()
                && declared.protocol.as_deref().unwrap_or("TCP") == protocol
        });
        for number in numbers.filter_map(|declared| u16::try_from(declared.port?).ok()) {
            for endpoint in &slice.endpoints {
                // All addresses of an endpoint are the same to kube-proxy, which takes the first.
                let address = endpoint.addresses.first().and_then(|text| text.parse::<IpAddr>().ok());
                let Some(address) = address.filter(|address| family.has(*address)) else { continue };
                let found = read(endpoint, node);
                let entry = known.entry((address, number)).or_insert(found);
                // S10: an address that is used again belongs to the pod that does not end.
                if entry.terminating && !found.terminating {
                    *entry = found;
                }
            }
        }
    }
    Endpoints { cluster: usable(&known, |_| true), local: usable(&known, |endpoint| endpoint.local) }
}

fn read(endpoint: &Endpoint, node: &str) -> Known {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    // S1
    Known {
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        local: endpoint.node_name.as_deref() == Some(node),
    }
}

/// S2, S3: the ready ones, or else those that serve while they terminate.
fn usable(known: &BTreeMap<Target, Known>, counts: impl Fn(&Known) -> bool) -> Vec<Target> {
    let chosen = |wanted: fn(&Known) -> bool| -> Vec<Target> {
        known
            .iter()
            .filter(|(_, endpoint)| counts(endpoint) && wanted(endpoint))
            .map(|(target, _)| *target)
            .collect()
    };
    let ready = chosen(|endpoint| endpoint.ready);
    if ready.is_empty() { chosen(|endpoint| endpoint.serving && endpoint.terminating) } else { ready }
}
