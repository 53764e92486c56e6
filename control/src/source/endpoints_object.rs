//! Objects of the deprecated kind Endpoints: mirrored into slices, one for each subset and family.

use std::time::SystemTime;

use fairway_proto::model::{self, ObjectName};
use k8s_openapi::api::core::v1 as k8s;

use super::declaration::{Endpoints, Family};
use super::endpoint_slice::{last_change, pod};
use super::reader::Reader;

/// Reads an Endpoints object.
pub(crate) fn read(reader: &mut Reader<'_>, object: k8s::Endpoints) -> Endpoints {
    let name = reader.name(&object.metadata);
    let labels = object.metadata.labels.clone().unwrap_or_default();
    let skip = labels.get("endpointslice.kubernetes.io/skip-mirror").is_some_and(|value| value == "true");
    let last_change = last_change(&object.metadata);
    let mut slices = Vec::new();
    for (index, subset) in object.subsets.into_iter().flatten().enumerate() {
        read_subset(reader, &name, index, subset, last_change, &mut slices);
    }
    Endpoints { name, slices, skip_mirror: skip }
}

fn read_subset(
    reader: &mut Reader<'_>,
    name: &ObjectName,
    index: usize,
    subset: k8s::EndpointSubset,
    last_change: Option<SystemTime>,
    slices: &mut Vec<model::EndpointSlice>,
) {
    let field = format!("subsets[{index}]");
    let mut ports = Vec::new();
    for (number, port) in subset.ports.into_iter().flatten().enumerate() {
        let field = format!("{field}.ports[{number}]");
        let protocol = reader.protocol(format!("{field}.protocol"), port.protocol.as_deref());
        if let Some(number) = reader.port(format!("{field}.port"), port.port) {
            ports.push(model::EndpointPort { name: port.name.unwrap_or_default(), protocol, port: number });
        }
    }
    let mut endpoints = Vec::new();
    for (list, addresses, ready) in
        [("addresses", subset.addresses, true), ("notReadyAddresses", subset.not_ready_addresses, false)]
    {
        for (number, address) in addresses.into_iter().flatten().enumerate() {
            let field = format!("{field}.{list}[{number}].ip");
            endpoints.extend(read_address(reader, field, address, ready, name.namespace()));
        }
    }
    for family in [Family::V4, Family::V6] {
        let endpoints: Vec<_> =
            endpoints.iter().filter(|endpoint| Family::of(&endpoint.address) == family).cloned().collect();
        if !endpoints.is_empty() {
            slices.push(model::EndpointSlice {
                name: ObjectName::new(
                    name.namespace(),
                    format!("{}:endpoints:{index}:{family}", name.name()),
                ),
                service: name.clone(),
                ports: ports.clone(),
                endpoints,
                last_change,
            });
        }
    }
}

fn read_address(
    reader: &mut Reader<'_>,
    field: String,
    address: k8s::EndpointAddress,
    ready: bool,
    namespace: &str,
) -> Option<model::Endpoint> {
    Some(model::Endpoint {
        address: reader.address(field, &address.ip)?,
        ready,
        serving: ready,
        terminating: false,
        node: address.node_name.filter(|name| !name.is_empty()).map(String::into_boxed_str),
        zone: None,
        hint_zones: Box::default(),
        hint_nodes: Box::default(),
        pod: pod(address.target_ref, namespace),
    })
}
