//! EndpointSlices.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fairway_proto::model::{self, ObjectName};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1 as k8s;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::declaration::{Family, Slice};
use super::reader::Reader;

/// Names the Service that a slice belongs to.
const SERVICE: &str = "kubernetes.io/service-name";
/// When the change happened that the slice was last written for, in RFC 3339.
const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Reads an EndpointSlice.
pub(crate) fn read(reader: &mut Reader<'_>, object: k8s::EndpointSlice) -> Slice {
    let name = reader.name(&object.metadata);
    let last_change = last_change(&object.metadata);
    let labels = object.metadata.labels.unwrap_or_default();
    let service = labels.get(SERVICE).cloned().unwrap_or_default();
    let family = match object.address_type.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        "FQDN" => None,
        other => {
            reader.invalid("addressType", other, "IPv4, IPv6 or FQDN");
            None
        }
    };
    // S16; a slice without a Service has no use either.
    let headless = labels.contains_key("service.kubernetes.io/headless");
    let hidden = headless || family.is_none() || service.is_empty();
    let ports = ports(reader, object.ports.unwrap_or_default());
    let endpoints = match family {
        Some(family) => object
            .endpoints
            .into_iter()
            .enumerate()
            .filter_map(|(index, endpoint)| read_endpoint(reader, index, endpoint, family, name.namespace()))
            .collect(),
        None => Vec::new(),
    };
    let manager = labels.get(MANAGED_BY).map(String::as_str);
    Slice {
        hidden,
        from_pods: manager == Some("endpointslice-controller.k8s.io"),
        mirrored: manager == Some("endpointslicemirroring-controller.k8s.io"),
        model: model::EndpointSlice {
            service: ObjectName::new(name.namespace(), service),
            name,
            ports,
            endpoints,
            last_change,
        },
    }
}

/// Only a metric depends on it: what does not parse is as good as nothing.
pub(crate) fn last_change(metadata: &ObjectMeta) -> Option<SystemTime> {
    let text = metadata.annotations.as_ref()?.get(LAST_CHANGE)?;
    let nanoseconds = text.trim().parse::<Timestamp>().ok()?.as_nanosecond();
    Some(UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
}

/// A port without a number stands for all ports, which no Service can use: it is left out (S13). A name that is
/// not written is the empty one, as the API server fills it in.
fn ports(reader: &mut Reader<'_>, ports: Vec<k8s::EndpointPort>) -> Vec<model::EndpointPort> {
    let mut read = Vec::with_capacity(ports.len());
    for (index, port) in ports.into_iter().enumerate() {
        let Some(number) = port.port.filter(|number| *number != 0) else { continue };
        let protocol = reader.protocol(format!("ports[{index}].protocol"), port.protocol.as_deref());
        if let Some(number) = reader.port(format!("ports[{index}].port"), number) {
            read.push(model::EndpointPort { name: port.name.unwrap_or_default(), protocol, port: number });
        }
    }
    read
}

fn read_endpoint(
    reader: &mut Reader<'_>,
    index: usize,
    endpoint: k8s::Endpoint,
    family: Family,
    namespace: &str,
) -> Option<model::Endpoint> {
    let field = format!("endpoints[{index}].addresses[0]");
    // All addresses of an endpoint are the same pod's: consumers use the first (Kubernetes API).
    let text = endpoint.addresses.first().map(String::as_str).unwrap_or_default();
    let address = reader.address(field.as_str(), text)?;
    if Family::of(&address) != family {
        reader.invalid(field, text, "of the slice's addressType");
    }
    let conditions = endpoint.conditions.unwrap_or_default();
    let hints = endpoint.hints.unwrap_or_default();
    // S1
    let ready = conditions.ready.unwrap_or(true);
    Some(model::Endpoint {
        address,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        node: endpoint.node_name.filter(|name| !name.is_empty()).map(String::into_boxed_str),
        zone: endpoint.zone.filter(|zone| !zone.is_empty()).map(String::into_boxed_str),
        hint_zones: hints.for_zones.into_iter().flatten().map(|zone| zone.name).collect(),
        hint_nodes: hints.for_nodes.into_iter().flatten().map(|node| node.name).collect(),
        pod: pod(endpoint.target_ref, namespace),
    })
}

/// The pod that an endpoint refers to.
pub(crate) fn pod(reference: Option<ObjectReference>, namespace: &str) -> Option<ObjectName> {
    let reference = reference.filter(|reference| reference.kind.as_deref() == Some("Pod"))?;
    let namespace = reference.namespace.unwrap_or_else(|| namespace.to_owned());
    Some(ObjectName::new(namespace, reference.name?))
}
