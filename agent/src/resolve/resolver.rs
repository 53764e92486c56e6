//! Resolves again what has changed, and only that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use fairway_proto::model::{Cluster, EndpointSlice, ObjectName, Service};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::claims::{Claims, Owner};
use super::frontends::{Expansion, Part};
use super::host_ports;
use super::places::Places;
use super::{Desired, FrontendKey, LocalNode, Problem, ServicePortName};

/// The last state that was resolved, and what each Service and pod asks for in it.
#[derive(Debug, Default)]
pub struct Resolver {
    cluster: Cluster,
    node: LocalNode,
    places: Places,
    /// NodePorts in the cluster.
    node_ports: usize,
    /// Slices by the Service that they belong to, in the order of their own names.
    slices: HashMap<ObjectName, Vec<Arc<EndpointSlice>>>,
    parts: HashMap<Owner, Part>,
    claims: Claims,
    /// How many Services have a cluster IP.
    addresses: HashMap<IpAddr, usize>,
    problems: BTreeMap<Owner, Vec<Problem>>,
    desired: Desired,
    resolved: usize,
}

/// Old and new value of a key that differ.
fn sides<'a, K, V>(item: DiffItem<'a, 'a, K, V>) -> (&'a K, Option<&'a V>, Option<&'a V>) {
    match item {
        DiffItem::Add(key, new) => (key, None, Some(new)),
        DiffItem::Update { old: (key, old), new: (_, new) } => (key, Some(old), Some(new)),
        DiffItem::Remove(key, old) => (key, Some(old), None),
    }
}

fn node_ports(service: &Service) -> usize {
    service.ports.iter().filter(|port| port.node_port.is_some()).count()
}

impl Resolver {
    /// Resolves the cluster for one node. A Service is looked at if it or one of its slices is not what it was the
    /// last time, a pod if its hostPorts are not; all of them are if the node, or where NodePorts are, has changed.
    pub fn resolve(&mut self, cluster: &Cluster, node: &LocalNode) -> Desired {
        let mut changed = self.take(cluster);
        let host_ports = self.node.host_ports.diff(&node.host_ports);
        changed.extend(host_ports.map(|item| Owner::Pod(sides(item).0.clone())));
        self.node.host_ports = node.host_ports.clone();
        if self.moves(cluster, node) {
            changed.extend(cluster.services.keys().cloned().map(Owner::Service));
            changed.extend(node.host_ports.keys().cloned().map(Owner::Pod));
        }
        self.cluster = cluster.clone();
        self.resolved = changed.len();
        let mut touched = BTreeSet::new();
        for owner in &changed {
            self.replace(owner, &mut touched);
        }
        self.decide(touched, changed);
        self.desired.clone()
    }

    /// How many Services and pods the last [`Resolver::resolve`] looked at.
    pub fn resolved(&self) -> usize {
        self.resolved
    }

    /// Which Services are concerned by what is different in the cluster.
    fn take(&mut self, cluster: &Cluster) -> BTreeSet<Owner> {
        let mut changed = BTreeSet::new();
        for (name, old, new) in self.cluster.services.diff(&cluster.services).map(sides) {
            let ports = |service: Option<&Arc<Service>>| service.map_or(0, |it| node_ports(it));
            self.node_ports = self.node_ports + ports(new) - ports(old);
            changed.insert(Owner::Service(name.clone()));
        }
        for (name, old, new) in self.cluster.slices.diff(&cluster.slices).map(sides) {
            if let Some(old) = old
                && let Some(slices) = self.slices.get_mut(&old.service)
            {
                slices.retain(|slice| slice.name != *name);
                if slices.is_empty() {
                    self.slices.remove(&old.service);
                }
            }
            if let Some(new) = new {
                let slices = self.slices.entry(new.service.clone()).or_insert_with(|| Vec::with_capacity(1));
                slices.insert(slices.partition_point(|slice| slice.name < *name), new.clone());
            }
            changed.extend(old.into_iter().chain(new).map(|slice| Owner::Service(slice.service.clone())));
        }
        changed
    }

    /// Whether the node, or where NodePorts are, is not what it was.
    fn moves(&mut self, cluster: &Cluster, node: &LocalNode) -> bool {
        let mut moved = self.node != *node;
        if moved || !self.cluster.nodes.ptr_eq(&cluster.nodes) {
            let nodes = cluster.nodes.values().map(|node| &**node);
            moved |= self.places.replace(Places::new(nodes, node));
            self.node = node.clone();
        }
        self.places.crowd(self.node_ports) || moved
    }

    /// Resolves one Service or pod; notes at which keys something may be different now.
    fn replace(&mut self, owner: &Owner, touched: &mut BTreeSet<FrontendKey>) {
        let old = self.parts.remove(owner).unwrap_or_default();
        let found = self.part(owner);
        let is_there = found.is_some();
        let new = found.unwrap_or_default();
        touched.extend(old.claims.iter().chain(&new.claims).map(|(key, _)| *key));
        self.claims.remove(owner, &old);
        self.claims.add(owner, &new);
        self.count(&old.addresses, &new.addresses);
        exchange(&mut self.desired.serving, &old.serving, &new.serving);
        exchange(&mut self.desired.ranges, &old.ranges, &new.ranges);
        if is_there {
            self.parts.insert(owner.clone(), new);
        }
    }

    /// What a Service or a pod asks for; none if it is gone.
    fn part(&self, owner: &Owner) -> Option<Part> {
        let (node, places) = (&self.node, &self.places);
        match owner {
            Owner::Service(name) => {
                let service = self.cluster.services.get(name)?;
                let slices = self.slices.get(name).into_iter().flatten();
                let slices: Vec<&EndpointSlice> = slices.map(|slice| &**slice).collect();
                Some(Expansion { service, slices: &slices, node, places, part: Part::default() }.run())
            }
            Owner::Pod(name) => Some(host_ports::expand(name, node.host_ports.get(name)?, node)),
        }
    }

    /// Counts who has an address: two Services may claim one.
    fn count(&mut self, old: &[IpAddr], new: &[IpAddr]) {
        for address in new {
            *self.addresses.entry(*address).or_default() += 1;
            self.desired.addresses.insert(*address);
        }
        for address in old {
            if let Some(count) = self.addresses.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    self.addresses.remove(address);
                    self.desired.addresses.remove(address);
                }
            }
        }
    }

    /// Decides who gets the keys that were touched, and what those that changed, and all who ask for one of these keys, do
    /// not get.
    fn decide(&mut self, touched: BTreeSet<FrontendKey>, mut concerned: BTreeSet<Owner>) {
        for key in touched {
            let all = self.claims.of(&key);
            match all.first() {
                None => drop(self.desired.frontends.remove(&key)),
                Some(winner) if self.desired.frontends.get(&key) == Some(winner) => {}
                Some(winner) => drop(self.desired.frontends.insert(key, winner.clone())),
            }
            for claim in all {
                concerned.insert(Owner::of(claim));
            }
        }
        let mut different = false;
        for owner in concerned {
            let part = self.parts.get(&owner);
            let problems: Vec<Problem> = part
                .into_iter()
                .flat_map(|part| part.problems.iter().cloned().chain(self.claims.lost(part)))
                .collect();
            different |= match problems.is_empty() {
                true => self.problems.remove(&owner).is_some(),
                false => self.problems.insert(owner, problems.clone()).as_ref() != Some(&problems),
            };
        }
        if different {
            self.desired.problems = self.problems.values().flatten().cloned().collect();
        }
    }
}

/// Replaces what one Service or pod has in a map.
fn exchange<T: Clone + PartialEq>(
    map: &mut OrdMap<ServicePortName, T>,
    old: &[(ServicePortName, T)],
    new: &[(ServicePortName, T)],
) {
    for (name, _) in old.iter().filter(|(name, _)| new.iter().all(|(other, _)| other != name)) {
        map.remove(name);
    }
    for (name, value) in new.iter().filter(|(name, value)| map.get(name) != Some(value)).collect::<Vec<_>>() {
        map.insert(name.clone(), value.clone());
    }
}
