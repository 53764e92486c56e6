//! Pods.

use k8s_openapi::api::core::v1 as k8s;

use super::declaration::Pod;
use super::reader::Reader;

/// Reads a Pod.
pub(crate) fn read(reader: &mut Reader<'_>, object: k8s::Pod) -> Pod {
    let name = reader.name(&object.metadata);
    let spec = object.spec.unwrap_or_default();
    let status = object.status.unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let several: Vec<String> = status.pod_ips.into_iter().flatten().map(|ip| ip.ip).collect();
    let addresses = match status.pod_ip.filter(|ip| !ip.is_empty()) {
        _ if !several.is_empty() => reader.addresses("status.podIPs", &several),
        Some(ip) => reader.address("status.podIP", &ip).into_iter().collect(),
        None => Vec::new(),
    };
    Pod {
        name,
        labels: object.metadata.labels.unwrap_or_default(),
        node: spec.node_name.clone().filter(|node| !node.is_empty()),
        host_network: spec.host_network.unwrap_or(false),
        addresses,
        ready,
        terminating: object.metadata.deletion_timestamp.is_some(),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        ports: ports(reader, &spec),
    }
}

/// Named ports of the containers, and of the init containers that go on running (sidecars).
fn ports(reader: &mut Reader<'_>, spec: &k8s::PodSpec) -> Vec<(String, fairway_proto::model::Protocol, u16)> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .enumerate()
        .filter(|(_, container)| container.restart_policy.as_deref() == Some("Always"))
        .map(|(index, container)| (format!("spec.initContainers[{index}]"), container));
    let containers = spec
        .containers
        .iter()
        .enumerate()
        .map(|(index, container)| (format!("spec.containers[{index}]"), container));
    let mut ports = Vec::new();
    for (field, container) in containers.chain(sidecars) {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let field = format!("{field}.ports[{index}]");
            let protocol = reader.protocol(format!("{field}.protocol"), port.protocol.as_deref());
            let number = reader.port(format!("{field}.containerPort"), port.container_port);
            if let (Some(name), Some(number)) = (port.name.clone().filter(|name| !name.is_empty()), number) {
                ports.push((name, protocol, number));
            }
        }
    }
    ports
}
