//! Nodes: what the manifest says, and what the agent found on the machine.

use std::collections::BTreeMap;

use fairway_proto::model::Node;

use super::Agents;
use crate::source::Declarations;

/// All nodes. The manifest's pod CIDRs and zone win where it has them; the addresses are the agent's, which sees them.
pub(crate) fn merge(declarations: &Declarations, agents: &Agents) -> BTreeMap<String, Node> {
    let mut nodes = agents.nodes.clone();
    for (name, declared) in &declarations.nodes {
        let declared = &declared.value;
        let Some(node) = nodes.get_mut(name) else {
            nodes.insert(name.clone(), declared.clone());
            continue;
        };
        if node.addresses.is_empty() {
            node.addresses.clone_from(&declared.addresses);
        }
        if !declared.pod_cidrs.is_empty() {
            node.pod_cidrs.clone_from(&declared.pod_cidrs);
        }
        if declared.zone.is_some() {
            node.zone.clone_from(&declared.zone);
        }
        node.object.clone_from(&declared.object);
    }
    nodes
}
