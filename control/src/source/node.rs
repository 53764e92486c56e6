//! Nodes.

use fairway_proto::model::{Node, NodeObject};
use k8s_openapi::api::core::v1 as k8s;

use super::reader::Reader;

/// Reads a Node.
pub(crate) fn read(reader: &mut Reader<'_>, object: k8s::Node) -> Node {
    let name = reader.bare_name(&object.metadata);
    let deleting = object.metadata.deletion_timestamp.is_some();
    let labels = object.metadata.labels.unwrap_or_default();
    let spec = object.spec.unwrap_or_default();
    let taints = spec.taints.unwrap_or_default().into_iter().map(|taint| taint.key).collect();
    let pod_cidrs = match spec.pod_cidr.filter(|cidr| !cidr.is_empty()) {
        Some(cidr) if spec.pod_cidrs.is_none() => reader.cidrs("spec.podCIDR", &[cidr]),
        _ => reader.cidrs("spec.podCIDRs", &spec.pod_cidrs.unwrap_or_default()),
    };
    let declared = object.status.and_then(|status| status.addresses).unwrap_or_default();
    let mut addresses = Vec::new();
    for wanted in ["InternalIP", "ExternalIP"] {
        for (index, address) in declared.iter().enumerate().filter(|(_, address)| address.type_ == wanted) {
            addresses.extend(reader.address(format!("status.addresses[{index}].address"), &address.address));
        }
    }
    Node {
        name,
        addresses,
        pod_cidrs,
        zone: labels.get("topology.kubernetes.io/zone").cloned().filter(|zone| !zone.is_empty()),
        object: Some(NodeObject { deleting, taints }),
    }
}
