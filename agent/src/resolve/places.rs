//! Where NodePorts are.

use std::net::IpAddr;
use std::sync::Arc;

use fairway_common::limits;
use fairway_proto::model::Node;

use super::{BackendRef, LocalNode};

/// The addresses that have NodePorts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Addresses of this node.
    pub(super) own: Vec<IpAddr>,
    /// Addresses of the other nodes.
    all_peers: Vec<IpAddr>,
    /// The peers' NodePorts would fill the table.
    crowded: bool,
    /// The node's own processes find NodePorts at 127.0.0.1 (S75).
    pub(super) loopback: bool,
    pub(super) nobody: Arc<[BackendRef]>,
}

impl Places {
    pub(super) fn new<'a>(nodes: impl Iterator<Item = &'a Node>, node: &LocalNode) -> Self {
        let rule = &node.node_port_addresses;
        let others = nodes.filter(|other| other.name != node.name);
        let mut all_peers: Vec<IpAddr> = others.flat_map(|other| rule.among(&other.addresses)).collect();
        all_peers.retain(|address| !node.addresses.contains(address) && !address.is_loopback());
        let own = rule.among(&node.addresses);
        Self { own, all_peers, crowded: false, loopback: rule.has_loopback(), nobody: Arc::new([]) }
    }

    /// Replaces the places. True if that makes a difference.
    pub(super) fn replace(&mut self, new: Self) -> bool {
        let new = Self { crowded: self.crowded, ..new };
        *self != new && {
            *self = new;
            true
        }
    }

    /// The cluster has so many NodePorts. True if that makes a difference.
    pub(super) fn crowd(&mut self, node_ports: usize) -> bool {
        let crowded = self.all_peers.len() * node_ports > limits::FRONTENDS as usize / 2;
        std::mem::replace(&mut self.crowded, crowded) != crowded
    }

    /// Addresses at which clients of this node, and only they, are answered: those of the other nodes, for NodePorts
    /// of external policy Cluster. None if they would fill the table: the other node then answers.
    pub(super) fn peers(&self) -> &[IpAddr] {
        if self.crowded { &[] } else { &self.all_peers }
    }
}

impl Default for Places {
    /// Of a cluster without nodes.
    fn default() -> Self {
        Self::new(std::iter::empty(), &LocalNode::default())
    }
}
