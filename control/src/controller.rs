//! From declarations and what agents know to the resources that every agent gets: a pure function.

mod agents;
mod claims;
mod nodes;
mod pods;
mod saved;
mod slices;
#[cfg(test)]
mod tests;

pub(crate) use agents::{Agents, parse as parse_report};
pub(crate) use saved::{load, save};

use std::collections::{BTreeMap, BTreeSet};

use fairway_proto::model::{ObjectName, Resource, ResourceKey};
use imbl::OrdMap;

use crate::source::{Declarations, Problem};

/// What all agents shall have.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// By name.
    pub(crate) resources: BTreeMap<ResourceKey, Resource>,
    /// Those of the declarations, and those that show only when all of them are seen together.
    pub(crate) problems: Vec<Problem>,
    /// What the next change may be computed from.
    pub(crate) basis: Basis,
}

/// What a change of nothing but slices leaves as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Basis {
    /// Problems that the declarations do not have alone.
    problems: Vec<Problem>,
    /// Services whose slices are made from Pods.
    made: BTreeSet<ObjectName>,
}

/// Computes the resources.
pub(crate) fn resolve(declarations: &Declarations, agents: &Agents) -> Resolved {
    let mut basis = Basis::default();
    let nodes = nodes::merge(declarations, agents);
    let pods = pods::Pods::new(declarations, agents, &nodes);
    basis.problems.extend(agents.reported_elsewhere(declarations));
    let services = claims::settle(declarations, &mut basis.problems);
    let slices = slices::all(declarations, &pods, &mut basis.made);
    let resources = services
        .into_iter()
        .map(Resource::Service)
        .chain(slices.into_iter().map(Resource::EndpointSlice))
        .chain(nodes.into_values().map(Resource::Node))
        .map(|resource| (resource.key(), resource))
        .collect();
    Resolved { resources, problems: problems(declarations, &basis), basis }
}

/// Resources that are different, by name; none where one is gone.
pub(crate) type Changes = BTreeMap<ResourceKey, Option<Resource>>;

/// Computes what is different when the declarations are, and the problems then. None: more than slices and Endpoints is
/// different, and all is to be computed anew.
pub(crate) fn resolve_change(
    before: &Declarations,
    after: &Declarations,
    basis: &Basis,
) -> Option<(Changes, Vec<Problem>)> {
    let same = shared(&before.services, &after.services)
        && shared(&before.pods, &after.pods)
        && shared(&before.nodes, &after.nodes);
    let changes = || {
        let changes = slices::changes(before, after, &basis.made).into_iter();
        changes.map(|(name, slice)| (ResourceKey::EndpointSlice(name), slice.map(Resource::EndpointSlice)))
    };
    same.then(|| (changes().collect(), problems(after, basis)))
}

/// Whether two maps are one, as far as that costs nothing to see.
fn shared<K: Ord + Clone, V: Clone>(one: &OrdMap<K, V>, other: &OrdMap<K, V>) -> bool {
    one.ptr_eq(other) || one.is_empty() && other.is_empty()
}

fn problems(declarations: &Declarations, basis: &Basis) -> Vec<Problem> {
    let mut problems = declarations.problems.clone();
    problems.extend_from_slice(&basis.problems);
    problems.sort();
    problems
}
