//! EndpointSlices: the hand-written ones, mirrors of Endpoints objects, and those made from Pods.

use std::collections::{BTreeMap, BTreeSet};

use fairway_proto::model::{Endpoint, EndpointPort, EndpointSlice, ObjectName, Protocol};

use super::pods::{Pods, Running};
use crate::source::{Declarations, Family, Service};

/// The most endpoints of a slice, as in Kubernetes.
const MOST: usize = 100;

/// All slices.
pub(crate) fn all(declarations: &Declarations, pods: &Pods<'_>) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    let mut made = BTreeSet::new();
    for service in declarations.services.values().map(|service| &service.value) {
        if service.hidden || service.headless || service.selector.is_empty() {
            continue;
        }
        if from_pods(service, pods, &mut slices) {
            made.insert(&service.model.name);
        }
    }
    let mut mirrored = BTreeSet::new();
    for slice in declarations.slices.values().map(|slice| &slice.value) {
        if slice.mirrored {
            mirrored.insert(&slice.model.service);
        }
        // A dump of a cluster holds the slices that its controller made; where the Pods are known too, ours are fresher.
        let replaced = slice.from_pods && made.contains(&slice.model.service);
        if !slice.hidden && !replaced {
            slices.push(slice.model.clone());
        }
    }
    for endpoints in declarations.endpoints.values().map(|endpoints| &endpoints.value) {
        let service = declarations.services.get(&endpoints.name);
        let without_selector = service.is_some_and(|service| service.value.selector.is_empty());
        if without_selector && !endpoints.skip_mirror && !mirrored.contains(&endpoints.name) {
            slices.extend_from_slice(&endpoints.slices);
        }
    }
    slices
}

/// What tells slices of one Service apart.
type Group = (Family, Vec<Port>);
/// Name, protocol number, number.
type Port = (String, i32, u16);

/// Adds the slices of the pods that a Service selects; false if it selects none.
fn from_pods(service: &Service, pods: &Pods<'_>, slices: &mut Vec<EndpointSlice>) -> bool {
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    let mut selected = false;
    for pod in pods.select(&service.model.name.namespace, &service.selector) {
        selected = true;
        let ports = ports(service, pod);
        if ports.is_empty() {
            continue;
        }
        for family in [Family::V4, Family::V6] {
            if (service.families.is_empty() || service.families.contains(&family))
                && let Some(endpoint) = endpoint(service, pod, family)
            {
                groups.entry((family, ports.clone())).or_default().push(endpoint);
            }
        }
    }
    for (group, endpoints) in groups {
        split(&service.model.name, &group, endpoints, slices);
    }
    selected
}

/// The ports of a Service as one pod has them (S15).
fn ports(service: &Service, pod: &Running<'_>) -> Vec<Port> {
    let ports = service.model.ports.iter().zip(&service.targets);
    ports
        .filter_map(|(port, target)| {
            let number = pod.port(target, port.protocol)?;
            Some((port.name.clone(), i32::from(port.protocol), number))
        })
        .collect()
}

fn endpoint(service: &Service, pod: &Running<'_>, family: Family) -> Option<Endpoint> {
    let ready = service.model.publish_not_ready || (pod.ready && !pod.terminating);
    let zone = pod.zone.map(str::to_owned);
    let node = pod.node.map(str::to_owned);
    let distribution = service.model.traffic_distribution.as_deref();
    let near = matches!(distribution, Some("PreferClose" | "PreferSameZone" | "PreferSameNode"));
    let same_node = distribution == Some("PreferSameNode");
    Some(Endpoint {
        address: pod.address(family)?,
        ready,
        serving: pod.ready,
        terminating: pod.terminating,
        hint_zones: zone.clone().filter(|_| near && ready).into_iter().collect(),
        hint_nodes: node.clone().filter(|_| same_node && ready).into_iter().collect(),
        node,
        zone,
        pod: Some(pod.declared.name.clone()),
    })
}

/// Makes slices of at most `MOST` endpoints. Where a slice ends depends on the pods' names, so that a pod that comes
/// or goes changes its own slice and not all that follow.
fn split(service: &ObjectName, group: &Group, endpoints: Vec<Endpoint>, slices: &mut Vec<EndpointSlice>) {
    let (family, ports) = group;
    let ports: Vec<EndpointPort> = ports
        .iter()
        .map(|(name, protocol, port)| EndpointPort {
            name: name.clone(),
            protocol: Protocol::try_from(*protocol).unwrap_or(Protocol::Tcp),
            port: *port,
        })
        .collect();
    // No object of Kubernetes can have such a name, so none that is written by hand is hidden by it.
    let base = format!("{}:{family}:{}", service.name, port_names(&ports));
    let many = endpoints.len() > MOST;
    let mut slice: Option<EndpointSlice> = None;
    for endpoint in endpoints {
        let pod = endpoint.pod.as_ref().map(|pod| pod.name.as_str()).unwrap_or_default();
        if let Some(full) =
            slice.take_if(|slice| many && (slice.endpoints.len() == MOST || starts_slice(pod)))
        {
            slices.push(full);
        }
        let open = slice.get_or_insert_with(|| EndpointSlice {
            name: ObjectName::new(
                service.namespace.clone(),
                if many { format!("{base}:{pod}") } else { base.clone() },
            ),
            service: service.clone(),
            ports: ports.clone(),
            endpoints: Vec::new(),
            // The Pods of a manifest do not say when they changed.
            last_change: None,
        });
        open.endpoints.push(endpoint);
    }
    slices.extend(slice);
}

fn port_names(ports: &[EndpointPort]) -> String {
    let names = ports.iter().map(|port| {
        let equals = if port.name.is_empty() { "" } else { "=" };
        format!("{}{equals}{}/{}", port.name, port.port, port.protocol.as_str_name())
    });
    names.collect::<Vec<_>>().join(",")
}

/// One name in 64 starts a slice (FNV-1a, which stays the same in every build).
fn starts_slice(pod: &str) -> bool {
    let hash = pod
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    (hash ^ (hash >> 32)).is_multiple_of(64)
}
