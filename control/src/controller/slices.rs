//! EndpointSlices: the hand-written ones, mirrors of Endpoints objects, and those made from Pods.

use std::collections::{BTreeMap, BTreeSet};

use fairway_proto::model::{Endpoint, EndpointPort, EndpointSlice, ObjectName, Protocol};
use imbl::ordmap::DiffItem;

use super::pods::{Pods, Running};
use crate::source::{Declarations, Endpoints, Family, Service, Slice};

/// The most endpoints of a slice, as in Kubernetes.
const MOST: usize = 100;

/// All slices; notes the Services whose slices are made from Pods.
pub(crate) fn all(
    declarations: &Declarations,
    pods: &Pods<'_>,
    made: &mut BTreeSet<ObjectName>,
) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for service in declarations.services.values().map(|service| &service.value) {
        if service.hidden || service.headless || service.selector.is_empty() {
            continue;
        }
        if from_pods(service, pods, &mut slices) {
            made.insert(service.model.name.clone());
        }
    }
    let mut mirrored = BTreeSet::new();
    for slice in declarations.slices.values().map(|slice| &slice.value) {
        if slice.mirrored {
            mirrored.insert(&slice.model.service);
        }
        slices.extend(served(slice, made).cloned());
    }
    for endpoints in declarations.endpoints.values().map(|endpoints| &endpoints.value) {
        if mirrors(declarations, endpoints) && !mirrored.contains(&endpoints.name) {
            slices.extend_from_slice(&endpoints.slices);
        }
    }
    slices
}

/// A declared slice as it is served. A dump of a cluster holds the slices that its controller made; where the Pods are
/// known too, ours are fresher.
fn served<'a>(slice: &'a Slice, made: &BTreeSet<ObjectName>) -> Option<&'a EndpointSlice> {
    let replaced = slice.from_pods && made.contains(&slice.model.service);
    (!slice.hidden && !replaced).then_some(&slice.model)
}

/// Whether an Endpoints object is mirrored, unless its mirror is declared.
fn mirrors(declarations: &Declarations, endpoints: &Endpoints) -> bool {
    let service = declarations.services.get(&endpoints.name);
    service.is_some_and(|service| service.value.selector.is_empty()) && !endpoints.skip_mirror
}

/// What is different in the slices when only slices and Endpoints are: none where one is gone.
pub(crate) fn changes(
    before: &Declarations,
    after: &Declarations,
    made: &BTreeSet<ObjectName>,
) -> BTreeMap<ObjectName, Option<EndpointSlice>> {
    let mut changes = BTreeMap::new();
    let mut concerned = BTreeSet::new();
    for (name, old, new) in before.slices.diff(&after.slices).map(sides) {
        let both = old.into_iter().chain(new);
        concerned.extend(both.filter(|slice| slice.value.mirrored).map(|slice| &slice.value.model.service));
        changes.insert(name.clone(), new.and_then(|slice| served(&slice.value, made)).cloned());
    }
    for (name, old, _) in before.endpoints.diff(&after.endpoints).map(sides) {
        concerned.insert(name);
        let gone = old.into_iter().flat_map(|endpoints| &endpoints.value.slices);
        changes.extend(gone.map(|slice| (slice.name.clone(), None)));
    }
    for endpoints in concerned.into_iter().filter_map(|name| after.endpoints.get(name)) {
        let endpoints = &endpoints.value;
        let mirrored = |slice: &Slice| slice.mirrored && slice.model.service == endpoints.name;
        let shown = mirrors(after, endpoints) && !after.slices.values().any(|slice| mirrored(&slice.value));
        let slices = endpoints.slices.iter();
        changes.extend(slices.map(|slice| (slice.name.clone(), shown.then(|| slice.clone()))));
    }
    changes
}

/// Old and new value of a key that differ.
fn sides<'a, K, V>(item: DiffItem<'a, 'a, K, V>) -> (&'a K, Option<&'a V>, Option<&'a V>) {
    match item {
        DiffItem::Add(key, new) => (key, None, Some(new)),
        DiffItem::Update { old: (key, old), new: (_, new) } => (key, Some(old), Some(new)),
        DiffItem::Remove(key, old) => (key, Some(old), None),
    }
}

/// What tells slices of one Service apart.
type Group = (Family, Vec<Port>);
/// Name, protocol number, number.
type Port = (String, i32, u16);

/// Adds the slices of the pods that a Service selects; false if it selects none.
fn from_pods(service: &Service, pods: &Pods<'_>, slices: &mut Vec<EndpointSlice>) -> bool {
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    let mut selected = false;
    for pod in pods.select(service.model.name.namespace(), &service.selector) {
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
        node: node.map(String::into_boxed_str),
        zone: zone.map(String::into_boxed_str),
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
    let base = format!("{}:{family}:{}", service.name(), port_names(&ports));
    let many = endpoints.len() > MOST;
    let mut slice: Option<EndpointSlice> = None;
    for endpoint in endpoints {
        let pod = endpoint.pod.as_ref().map(ObjectName::name).unwrap_or_default();
        if let Some(full) =
            slice.take_if(|slice| many && (slice.endpoints.len() == MOST || starts_slice(pod)))
        {
            slices.push(full);
        }
        let open = slice.get_or_insert_with(|| EndpointSlice {
            name: ObjectName::new(
                service.namespace(),
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
