//! What is declared: states with numbers, so that a mixture of two, or one that never was, is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairway_proto::model::{
    Cluster, Endpoint, EndpointPort, EndpointSlice, Node, ObjectName, Protocol, Resource, ResourceKey,
    Service, ServicePort, ServiceType, TrafficPolicy,
};
use rand::Rng;

/// Resources by name.
pub(crate) type Resources = BTreeMap<ResourceKey, Resource>;

/// Services that there may be.
const SERVICES: u8 = 6;
/// Slices that each may have.
const SLICES: u8 = 2;
/// The node whose zone is the number of the state.
const MARKER: &str = "marker";

/// All states that there were.
#[derive(Debug, Default)]
pub(crate) struct Source {
    states: Vec<State>,
    /// The states that a control plane had, by its epoch.
    had: BTreeMap<u64, BTreeSet<usize>>,
}

#[derive(Debug)]
struct State {
    resources: Resources,
    /// Something is missing: a file was not good yet.
    incomplete: bool,
}

/// The source as everybody shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Source>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// The number of the newest state.
    pub(crate) fn newest(&self) -> usize {
        self.states.len().saturating_sub(1)
    }

    /// A state.
    pub(crate) fn resources(&self, number: usize) -> &Resources {
        &self.states[number].resources
    }

    /// From this state nothing is missing.
    pub(crate) fn is_complete(&self, number: usize) -> bool {
        !self.states[number].incomplete
    }

    /// The last complete state up to this one.
    pub(crate) fn complete_before(&self, number: usize) -> usize {
        (0..=number).rev().find(|number| self.is_complete(*number)).unwrap_or_default()
    }

    /// What is different between two states.
    pub(crate) fn changes(&self, from: usize, to: usize) -> BTreeMap<ResourceKey, Option<Resource>> {
        let (from, to) = (self.resources(from), self.resources(to));
        let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), None));
        let new = to.iter().filter(|(key, resource)| from.get(*key) != Some(*resource));
        gone.chain(new.map(|(key, resource)| (key.clone(), Some(resource.clone())))).collect()
    }

    /// A control plane has this state now.
    pub(crate) fn note(&mut self, epoch: u64, number: usize) {
        self.had.entry(epoch).or_default().insert(number);
    }

    /// Adds a state that is a little different from the newest complete one.
    pub(crate) fn change(&mut self, random: &mut impl Rng) -> usize {
        let mut resources = match self.states.is_empty() {
            true => Resources::new(),
            false => self.resources(self.complete_before(self.newest())).clone(),
        };
        for _ in 0..random.random_range(1..=4) {
            let (service, slice) = (random.random_range(0..SERVICES), random.random_range(0..SLICES));
            let changed = match random.random_range(0..10) {
                0 | 1 => service_named(service),
                _ => slice_of(service, slice, random),
            };
            if random.random_bool(0.2) {
                resources.remove(&changed.key());
            } else {
                resources.insert(changed.key(), changed);
            }
        }
        self.add(resources, false)
    }

    /// Adds what a control plane has that could not read everything of a state yet.
    pub(crate) fn lose(&mut self, number: usize, random: &mut impl Rng) -> usize {
        let mut resources = self.resources(number).clone();
        resources.retain(|_, _| random.random_bool(0.5));
        self.add(resources, true)
    }

    fn add(&mut self, mut resources: Resources, incomplete: bool) -> usize {
        let number = self.states.len();
        let marker = Resource::Node(Node {
            name: MARKER.into(),
            addresses: vec![],
            pod_cidrs: vec![],
            zone: Some(number.to_string()),
            object: None,
        });
        resources.insert(marker.key(), marker);
        self.states.push(State { resources, incomplete });
        number
    }

    /// The number of this state, or what is wrong with it.
    pub(crate) fn number(&self, resources: &Resources) -> Result<usize, String> {
        let marker = resources.get(&ResourceKey::Node(MARKER.into()));
        let zone = match marker {
            Some(Resource::Node(node)) => node.zone.as_deref(),
            _ => None,
        };
        let number: usize = zone.and_then(|zone| zone.parse().ok()).ok_or("a state without a number")?;
        let known = self.states.get(number).ok_or_else(|| format!("state {number}, which never was"))?;
        if known.resources == *resources {
            return Ok(number);
        }
        let different = |key: &&ResourceKey| known.resources.get(*key) != resources.get(*key);
        let keys: BTreeSet<_> = known.resources.keys().chain(resources.keys()).filter(different).collect();
        Err(format!("a mixture: state {number}, but for {keys:?}"))
    }

    /// Whether somebody who had `before` may be given `number` by a control plane (S104): not if something is missing from
    /// it, unless that control plane itself had what is given up.
    pub(crate) fn check_step(&self, before: Option<usize>, epoch: u64, number: usize) -> Result<(), String> {
        let had = self.had.get(&epoch);
        if !had.is_some_and(|had| had.contains(&number)) {
            return Err(format!("state {number} in the name of a control plane that never had it"));
        }
        match before {
            Some(before) if !self.is_complete(number) && !had.is_some_and(|had| had.contains(&before)) => {
                Err(format!("state {number}, from which something is missing, in place of state {before}"))
            }
            _ => Ok(()),
        }
    }
}

/// The resources of a cluster.
pub(crate) fn resources_of(cluster: &Cluster) -> Resources {
    let services = cluster.services.values().map(|it| Resource::Service((**it).clone()));
    let slices = cluster.slices.values().map(|it| Resource::EndpointSlice((**it).clone()));
    let nodes = cluster.nodes.values().map(|it| Resource::Node((**it).clone()));
    services.chain(slices).chain(nodes).map(|resource| (resource.key(), resource)).collect()
}

/// What is served of a state: `frontend -> backends`, sorted.
pub(crate) fn served(resources: &Resources) -> Vec<String> {
    let services = resources.values().filter_map(|resource| match resource {
        Resource::Service(service) => Some(service),
        _ => None,
    });
    let line = |service: &Service| {
        let backends: BTreeSet<String> = resources
            .values()
            .filter_map(|resource| match resource {
                Resource::EndpointSlice(slice) if slice.service == service.name => Some(slice),
                _ => None,
            })
            .flat_map(|slice| &slice.endpoints)
            .map(|endpoint| format!("{}:8080", endpoint.address))
            .collect();
        format!("{}:80 -> {}", service.cluster_ips[0], backends.into_iter().collect::<Vec<_>>().join(" "))
    };
    let mut lines: Vec<String> = services.map(line).collect();
    lines.sort();
    lines
}

fn name(service: u8) -> ObjectName {
    ObjectName::new("default", format!("s{service}"))
}

fn service_named(service: u8) -> Resource {
    Resource::Service(Service {
        name: name(service),
        service_type: ServiceType::ClusterIp,
        cluster_ips: vec![Ipv4Addr::new(10, 96, 0, service + 1).into()],
        external_ips: vec![],
        load_balancer_ips: vec![],
        ports: vec![ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: None }],
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        affinity_seconds: None,
        source_ranges: vec![],
        publish_not_ready: false,
        traffic_distribution: None,
        annotations: BTreeMap::new(),
    })
}

fn slice_of(service: u8, slice: u8, random: &mut impl Rng) -> Resource {
    let endpoint = |last: u8| Endpoint {
        address: IpAddr::V4(Ipv4Addr::new(10, slice, service, last)),
        ready: true,
        serving: true,
        terminating: false,
        node: None,
        zone: None,
        hint_zones: [].into(),
        hint_nodes: [].into(),
        pod: None,
    };
    Resource::EndpointSlice(EndpointSlice {
        name: ObjectName::new("default", format!("s{service}-{slice}")),
        service: name(service),
        ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: (1..=5).filter(|_| random.random_bool(0.5)).map(endpoint).collect(),
        last_change: None,
    })
}
