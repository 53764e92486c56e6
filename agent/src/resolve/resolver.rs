//! Resolves again what has changed, and only that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use fairway_proto::model::{Cluster, EndpointSlice, ObjectName, Service};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::claims::Claims;
use super::frontends::{Expansion, Part};
use super::places::Places;
use super::{Desired, FrontendKey, LocalNode, Problem, ServicePortName};

/// The last state that was resolved, and what each Service asks for in it.
#[derive(Debug, Default)]
pub struct Resolver {
    cluster: Cluster,
    node: LocalNode,
    places: Places,
    /// NodePorts in the cluster.
    node_ports: usize,
    /// Slices by the Service that they belong to, then by their own name.
    slices: HashMap<ObjectName, BTreeMap<ObjectName, Arc<EndpointSlice>>>,
    parts: HashMap<ObjectName, Part>,
    claims: Claims,
    /// How many Services have a cluster IP.
    addresses: HashMap<IpAddr, usize>,
    problems: BTreeMap<ObjectName, Vec<Problem>>,
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
    /// last time; all of them are if the node, or where NodePorts are, has changed.
    pub fn resolve(&mut self, cluster: &Cluster, node: &LocalNode) -> Desired {
        let mut changed = self.take(cluster);
        if self.moves(cluster, node) {
            changed.extend(cluster.services.keys().cloned());
        }
        self.cluster = cluster.clone();
        self.resolved = changed.len();
        let mut touched = BTreeSet::new();
        for name in &changed {
            self.replace(name, &mut touched);
        }
        self.decide(touched, changed);
        self.desired.clone()
    }

    /// How many Services the last [`Resolver::resolve`] looked at.
    pub fn resolved(&self) -> usize {
        self.resolved
    }

    /// Which Services are concerned by what is different in the cluster.
    fn take(&mut self, cluster: &Cluster) -> BTreeSet<ObjectName> {
        let mut changed = BTreeSet::new();
        for (name, old, new) in self.cluster.services.diff(&cluster.services).map(sides) {
            let ports = |service: Option<&Arc<Service>>| service.map_or(0, |it| node_ports(it));
            self.node_ports = self.node_ports + ports(new) - ports(old);
            changed.insert(name.clone());
        }
        for (name, old, new) in self.cluster.slices.diff(&cluster.slices).map(sides) {
            if let Some(old) = old
                && let Some(slices) = self.slices.get_mut(&old.service)
            {
                slices.remove(name);
                if slices.is_empty() {
                    self.slices.remove(&old.service);
                }
            }
            if let Some(new) = new {
                self.slices.entry(new.service.clone()).or_default().insert(name.clone(), new.clone());
            }
            changed.extend(old.into_iter().chain(new).map(|slice| slice.service.clone()));
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

    /// Resolves one Service; notes at which keys something may be different now.
    fn replace(&mut self, name: &ObjectName, touched: &mut BTreeSet<FrontendKey>) {
        let old = self.parts.remove(name).unwrap_or_default();
        let new = self.cluster.services.get(name).map(|service| {
            let slices: Vec<&EndpointSlice> =
                self.slices.get(name).into_iter().flat_map(BTreeMap::values).map(|slice| &**slice).collect();
            let (node, places) = (&self.node, &self.places);
            Expansion { service, slices: &slices, node, places, part: Part::default() }.run()
        });
        let new = new.unwrap_or_default();
        touched.extend(old.claims.iter().chain(&new.claims).map(|(key, _)| *key));
        self.claims.remove(name, &old);
        self.claims.add(name, &new);
        self.count(&old.addresses, &new.addresses);
        exchange(&mut self.desired.serving, &old.serving, &new.serving);
        exchange(&mut self.desired.ranges, &old.ranges, &new.ranges);
        if self.cluster.services.contains_key(name) {
            self.parts.insert(name.clone(), new);
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

    /// Decides who gets the keys that were touched, and what the Services that changed, and all who ask for one of
    /// these keys, do not get.
    fn decide(&mut self, touched: BTreeSet<FrontendKey>, mut concerned: BTreeSet<ObjectName>) {
        for key in touched {
            let all = self.claims.of(&key);
            match all.first() {
                None => drop(self.desired.frontends.remove(&key)),
                Some(winner) if self.desired.frontends.get(&key) == Some(winner) => {}
                Some(winner) => drop(self.desired.frontends.insert(key, winner.clone())),
            }
            for claim in all {
                if !concerned.contains(&claim.name.service) {
                    concerned.insert(claim.name.service.clone());
                }
            }
        }
        let mut different = false;
        for name in concerned {
            let part = self.parts.get(&name);
            let problems: Vec<Problem> = part
                .into_iter()
                .flat_map(|part| part.problems.iter().cloned().chain(self.claims.lost(part)))
                .collect();
            different |= match problems.is_empty() {
                true => self.problems.remove(&name).is_some(),
                false => self.problems.insert(name, problems.clone()).as_ref() != Some(&problems),
            };
        }
        if different {
            self.desired.problems = self.problems.values().flatten().cloned().collect();
        }
    }
}

/// Replaces what one Service has in a map.
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
