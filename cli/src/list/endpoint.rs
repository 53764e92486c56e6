//! Pods of this node.

use std::cmp::Ordering;

use fairway_proto::node;
use serde::Serialize;

use super::{address_order, known};
use crate::output::Row;
use crate::style;

/// A pod of this node. Names and state are absent when read from the pinned maps, where each address is one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    addresses: Vec<String>,
    /// ready, not-ready or terminating.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    ifindex: u32,
    pod_mac: String,
    node_mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
}

impl From<node::PodEndpoint> for Endpoint {
    fn from(pod: node::PodEndpoint) -> Self {
        let state = match (pod.terminating, pod.ready) {
            (true, _) => "terminating",
            (false, true) => "ready",
            (false, false) => "not-ready",
        };
        Self {
            namespace: known(pod.namespace),
            name: known(pod.name),
            addresses: pod.addresses,
            state: Some(state),
            interface: known(pod.interface),
            ifindex: pod.ifindex,
            pod_mac: pod.pod_mac,
            node_mac: pod.node_mac,
            container_id: known(pod.container_id),
        }
    }
}

impl From<fairway_datapath::Pod> for Endpoint {
    fn from(pod: fairway_datapath::Pod) -> Self {
        Self {
            namespace: None,
            name: None,
            addresses: vec![pod.address.to_string()],
            state: None,
            interface: None,
            ifindex: pod.ifindex,
            pod_mac: mac(pod.pod_mac),
            node_mac: mac(pod.node_mac),
            container_id: None,
        }
    }
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

impl Row for Endpoint {
    const KIND: &'static str = "EndpointList";
    const COLUMNS: &'static [&'static str] = &["NAMESPACE", "NAME", "ADDRESSES", "STATE", "INTERFACE"];
    const WIDE: &'static [&'static str] = &["IFINDEX", "POD-MAC", "NODE-MAC", "CONTAINER"];

    fn cells(&self) -> Vec<String> {
        vec![
            style::or_dash(self.namespace.as_deref()),
            style::name_or_dash(self.name.as_deref()),
            style::list_or_dash(&self.addresses),
            style::state(self.state.unwrap_or_default()),
            style::or_dash(self.interface.as_deref()),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let container = self.container_id.as_deref().map(|id| id.get(..12).unwrap_or(id));
        vec![self.ifindex.to_string(), self.pod_mac.clone(), self.node_mac.clone(), style::or_dash(container)]
    }

    fn in_namespace(&self, namespace: &str) -> bool {
        self.namespace.as_deref() == Some(namespace)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key = |pod: &Self| {
            let addresses: Vec<_> = pod.addresses.iter().map(|address| address_order(address)).collect();
            (pod.namespace.clone(), pod.name.clone(), addresses)
        };
        key(self).cmp(&key(other))
    }
}
