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

use std::collections::BTreeMap;

use fairway_proto::model::{Resource, ResourceKey};

use crate::source::{Declarations, Problem};

/// What all agents shall have.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// By name.
    pub(crate) resources: BTreeMap<ResourceKey, Resource>,
    /// Those of the declarations, and those that show only when all of them are seen together.
    pub(crate) problems: Vec<Problem>,
}

/// Computes the resources.
pub(crate) fn resolve(declarations: &Declarations, agents: &Agents) -> Resolved {
    let mut problems = declarations.problems.clone();
    let nodes = nodes::merge(declarations, agents);
    let pods = pods::Pods::new(declarations, agents, &nodes);
    let services = claims::settle(declarations, &mut problems);
    let slices = slices::all(declarations, &pods);
    problems.sort();
    let resources = services
        .into_iter()
        .map(Resource::Service)
        .chain(slices.into_iter().map(Resource::EndpointSlice))
        .chain(nodes.into_values().map(Resource::Node))
        .map(|resource| (resource.key(), resource))
        .collect();
    Resolved { resources, problems }
}
