//! The ruleset that kube-proxy of Kubernetes 1.36 writes in its nftables mode: same table, hooks, maps and order of chains,
//! hence the same work for each packet.
//!
//! Chains are named by namespace, Service, protocol and port without kube-proxy's hash. The script replaces the whole
//! table, and with it the clients' choices under session affinity. Topology hints are not heeded.

pub(in crate::peer) mod endpoints;
pub(in crate::peer) mod port;
mod rules;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use table::Table;

/// The node that a ruleset is for, and kube-proxy's settings there. Addresses of both families may stand side by side.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its name, as endpoints bear it.
    pub name: String,
    /// Its addresses; a family without one gets no table.
    pub addresses: Vec<IpAddr>,
    /// Sources that count as pods of the cluster: the cluster's range (`--detect-local-mode ClusterCIDR`) or the node's own
    /// (`NodeCIDR`). Empty: nobody does.
    pub pods: Vec<IpNet>,
    /// Ranges of ClusterIPs; what is not in use there is dropped.
    pub service_cidrs: Vec<IpNet>,
    /// Where NodePorts answer.
    pub node_ports: NodePorts,
}

/// `--nodeport-addresses`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodePorts {
    /// At [`Node::addresses`]: the default of the nftables mode.
    #[default]
    Primary,
    /// At all addresses of the node but loopback ones.
    All,
}

/// An IP family, and how nft spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::peer) enum Family {
    V4,
    V6,
}

impl Family {
    fn ip(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    pub(in crate::peer) fn has(self, address: IpAddr) -> bool {
        address.is_ipv6() == (self == Self::V6)
    }

    pub(in crate::peer) fn of<T: Copy>(self, all: &[T], address: impl Fn(T) -> IpAddr) -> Vec<T> {
        all.iter().copied().filter(|item| self.has(address(*item))).collect()
    }
}

/// What `nft -f` loads on the node: one table for each of its families.
#[must_use]
pub fn script(node: &Node, services: &[Service], slices: &[EndpointSlice]) -> String {
    let slices = port::Slices::new(slices);
    [Family::V4, Family::V6]
        .into_iter()
        .filter(|family| node.addresses.iter().any(|address| family.has(*address)))
        .map(|family| {
            let mut table = Table::new(family, node);
            for service in services {
                for port in port::ports(service, &slices, family, &node.name) {
                    rules::add(&mut table, node, &port);
                }
            }
            table.to_string()
        })
        .collect()
}
