//! Who has which address. Pure: everything follows from the node's number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// IP families of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Families {
    /// IPv4 only.
    #[value(alias = "v4")]
    Ipv4,
    /// IPv6 only.
    #[value(alias = "v6")]
    Ipv6,
    /// Both.
    Dual,
}

impl Families {
    /// Whether the lab has addresses of the family of `address`.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        match self {
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
            Self::Dual => true,
        }
    }
}

/// Whose sockets the agents translate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SocketLb {
    /// Pods' and the node's.
    #[value(alias = "on")]
    All,
    /// The node's alone.
    Host,
    /// None: every packet is translated at a device.
    Off,
}

impl SocketLb {
    /// The value of the agent's flag.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Host => "host",
            Self::Off => "off",
        }
    }
}

/// What makes pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// The lab itself: a namespace, a call of the plugin, a process.
    #[default]
    Lab,
    /// A containerd on each node, which calls the plugin.
    Containerd,
}

/// The addresses of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Number of nodes, `node1` to `nodeN`; at most 200.
    pub nodes: u8,
    /// Families that devices get addresses of.
    pub families: Families,
}

const CLIENT: u8 = 254;

impl Plan {
    /// Names of the nodes.
    pub fn node_names(self) -> impl Iterator<Item = String> {
        (1..=self.nodes).map(|number| format!("node{number}"))
    }

    /// The number in a node's name, if there is such a node.
    #[must_use]
    pub fn number(self, node: &str) -> Option<u8> {
        let number = node.strip_prefix("node")?.parse().ok()?;
        (1..=self.nodes).contains(&number).then_some(number)
    }

    /// Addresses with prefix of a node's `eth0`.
    #[must_use]
    pub fn node(self, number: u8) -> Vec<IpNet> {
        self.on_underlay(number)
    }

    /// Addresses with prefix of the client outside, which is the nodes' default gateway too.
    #[must_use]
    pub fn client(self) -> Vec<IpNet> {
        self.on_underlay(CLIENT)
    }

    /// Ranges of a node's pods.
    #[must_use]
    pub fn pod_cidrs(self, number: u8) -> Vec<IpNet> {
        self.of_families(v4(10, 244, number, 0, 24), v6([0xfd00, 0x10, 0x244, number.into(), 0], 0, 64))
    }

    /// Ranges that the client reaches through node1: those of load balancers, and other external addresses.
    #[must_use]
    pub fn external(self) -> Vec<IpNet> {
        let balancers = self.of_families(v4(203, 0, 113, 0, 24), v6([0xfd00, 0x203, 0, 0, 0], 0, 64));
        let others = self.of_families(v4(198, 51, 100, 0, 24), v6([0xfd00, 0x198, 0, 0, 0], 0, 64));
        balancers.into_iter().chain(others).collect()
    }

    /// Ranges of `ClusterIP`s.
    #[must_use]
    pub fn service_cidrs(self) -> Vec<IpNet> {
        self.of_families(v4(10, 96, 0, 0, 16), v6([0xfd00, 0x10, 0x96, 0, 0], 0, 112))
    }

    fn on_underlay(self, host: u8) -> Vec<IpNet> {
        self.of_families(v4(192, 168, 50, host, 24), v6([0xfd00, 0x50, 0, 0, 0], host.into(), 64))
    }

    fn of_families(self, v4: IpNet, v6: IpNet) -> Vec<IpNet> {
        [v4, v6].into_iter().filter(|net| self.families.has(net.addr())).collect()
    }
}

fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length).into()
}

fn v6(head: [u16; 5], host: u16, length: u8) -> IpNet {
    let [a, b, c, d, e] = head;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, 0, 0, host), length).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUAL: Plan = Plan { nodes: 2, families: Families::Dual };

    #[test]
    fn addresses_follow_from_the_number_of_the_node() {
        let text = |nets: Vec<IpNet>| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(text(DUAL.node(1)), "192.168.50.1/24 fd00:50::1/64");
        assert_eq!(text(DUAL.client()), "192.168.50.254/24 fd00:50::fe/64");
        assert_eq!(text(DUAL.pod_cidrs(2)), "10.244.2.0/24 fd00:10:244:2::/64");
    }

    #[test]
    fn a_single_family_lab_has_no_address_of_the_other() {
        let v6 = Plan { families: Families::Ipv6, ..DUAL };
        assert!(v6.external().iter().chain(&v6.node(1)).all(|net| net.addr().is_ipv6()));
    }

    #[test]
    fn only_names_of_nodes_that_exist_have_a_number() {
        assert_eq!(DUAL.number("node2"), Some(2));
        assert_eq!(DUAL.number("node3"), None);
        assert_eq!(DUAL.number("web"), None);
    }
}
