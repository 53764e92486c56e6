//! The table: what is there without any Service, and what Services add.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Family, Node, NodePorts};

pub(super) const CLUSTER_IPS: &str = "cluster-ips";
pub(super) const FIREWALL: &str = "firewall-ips";
pub(super) const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";
pub(super) const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
pub(super) const SERVICE_IPS: &str = "service-ips";
pub(super) const SERVICE_NODE_PORTS: &str = "service-nodeports";
const NODE_PORT_IPS: &str = "nodeport-ips";
/// Marks what is masqueraded on its way out.
const MARK: &str = "0x4000";

/// A table of one family.
pub(super) struct Table {
    family: Family,
    chains: Vec<(String, Vec<String>)>,
    affinities: Vec<(String, u32)>,
    elements: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Table {
    /// The table without Services.
    pub(super) fn new(family: Family, node: &Node) -> Self {
        let mut table =
            Self { family, chains: Vec::new(), affinities: Vec::new(), elements: BTreeMap::new() };
        for (name, hook, rules) in hooks() {
            table.chain(
                name.into(),
                std::iter::once(hook.into()).chain(rules.iter().map(|rule| (*rule).into())).collect(),
            );
        }
        table.rules(node);
        let addresses = family.of(&node.addresses, |address| address);
        if node.node_ports == NodePorts::Primary {
            addresses.iter().for_each(|address| table.element(NODE_PORT_IPS, address.to_string()));
        }
        table
    }

    fn rules(&mut self, node: &Node) {
        let ip = self.family.ip();
        let dispatch = format!("{ip} daddr . meta l4proto . th dport vmap");
        let at_node = match node.node_ports {
            NodePorts::Primary => format!("{ip} daddr @{NODE_PORT_IPS}"),
            NodePorts::All if self.family == Family::V4 => {
                "fib daddr type local ip daddr != 127.0.0.0/8".into()
            }
            NodePorts::All => "fib daddr type local ip6 daddr != ::1".into(),
        };
        let by_port = format!("{at_node} meta l4proto . th dport vmap");
        let ranges = self.family.of(&node.service_cidrs, |range| range.addr());
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        // S35
        let mut unused = vec![format!("{ip} daddr @{CLUSTER_IPS} reject")];
        if !ranges.is_empty() {
            unused.push(format!("{ip} daddr {{ {} }} drop", ranges.join(", ")));
        }
        let services = vec![format!("{dispatch} @{SERVICE_IPS}"), format!("{by_port} @{SERVICE_NODE_PORTS}")];
        self.chain("services".into(), services);
        self.chain("firewall-check".into(), vec![format!("{dispatch} @{FIREWALL}")]);
        self.chain("service-endpoints-check".into(), vec![format!("{dispatch} @{NO_ENDPOINT_SERVICES}")]);
        self.chain("nodeport-endpoints-check".into(), vec![format!("{by_port} @{NO_ENDPOINT_NODE_PORTS}")]);
        self.chain("cluster-ips-check".into(), unused);
        self.chain("reject-chain".into(), vec!["reject".into()]);
        self.chain("mark-for-masquerade".into(), vec![format!("meta mark set meta mark or {MARK}")]);
        let masquerading = [
            format!("meta mark and {MARK} == 0 return"),
            format!("meta mark set meta mark xor {MARK}"),
            "masquerade fully-random".into(),
        ];
        self.chain("masquerading".into(), masquerading.into());
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    pub(super) fn chain(&mut self, name: String, rules: Vec<String>) {
        self.chains.push((name, rules));
    }

    /// A set of clients that keep an endpoint for so many seconds.
    pub(super) fn affinity(&mut self, name: String, seconds: u32) {
        self.affinities.push((name, seconds));
    }

    /// Of two Services that claim one key, nft would refuse the second: the first keeps it.
    pub(super) fn element(&mut self, map: &'static str, element: String) {
        let elements = self.elements.entry(map).or_default();
        let key = |element: &str| element.split(" : ").next().unwrap_or_default().to_owned();
        let is_taken = elements.range(key(&element)..).next().is_some_and(|next| key(next) == key(&element));
        if !is_taken {
            elements.insert(element);
        }
    }

    #[cfg(test)]
    pub(super) fn chains(&self) -> &[(String, Vec<String>)] {
        &self.chains
    }

    #[cfg(test)]
    pub(super) fn elements(&self, map: &str) -> Vec<&str> {
        self.elements.get(map).into_iter().flatten().map(String::as_str).collect()
    }
}

/// Where the table hooks in. S38: refusals are for new connections alone.
fn hooks() -> [(&'static str, &'static str, &'static [&'static str]); 8] {
    [
        (
            "filter-prerouting-pre-dnat",
            "type filter hook prerouting priority -110;",
            &["ct state new jump firewall-check"],
        ),
        (
            "filter-output-pre-dnat",
            "type filter hook output priority -110;",
            &["ct state new jump firewall-check"],
        ),
        ("nat-prerouting", "type nat hook prerouting priority -100;", &["jump services"]),
        ("nat-output", "type nat hook output priority -100;", &["jump services"]),
        (
            "filter-input",
            "type filter hook input priority 0;",
            &["ct state new jump nodeport-endpoints-check", "ct state new jump service-endpoints-check"],
        ),
        (
            "filter-forward",
            "type filter hook forward priority 0;",
            &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
        ),
        (
            "filter-output",
            "type filter hook output priority 0;",
            &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
        ),
        ("nat-postrouting", "type nat hook postrouting priority 100;", &["jump masquerading"]),
    ]
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, address) = (self.family.ip(), self.family.address_type());
        // To delete what is not there is an error, to add what is there is none.
        writeln!(out, "add table {ip} kube-proxy\ndelete table {ip} kube-proxy\ntable {ip} kube-proxy {{")?;
        let of = |kind: &str| match kind {
            "address" => address.to_owned(),
            "port" => "inet_proto . inet_service : verdict".to_owned(),
            _ => format!("{address} . inet_proto . inet_service : verdict"),
        };
        let sets = [
            ("set", CLUSTER_IPS, "address"),
            ("set", NODE_PORT_IPS, "address"),
            ("map", FIREWALL, "service"),
            ("map", NO_ENDPOINT_SERVICES, "service"),
            ("map", NO_ENDPOINT_NODE_PORTS, "port"),
            ("map", SERVICE_IPS, "service"),
            ("map", SERVICE_NODE_PORTS, "port"),
        ];
        for (what, name, kind) in sets {
            writeln!(out, "\t{what} {name} {{\n\t\ttype {}", of(kind))?;
            if let Some(elements) = self.elements.get(name) {
                let elements: Vec<&str> = elements.iter().map(String::as_str).collect();
                writeln!(out, "\t\telements = {{ {} }}", elements.join(",\n\t\t\t"))?;
            }
            writeln!(out, "\t}}")?;
        }
        for (name, seconds) in &self.affinities {
            let flags = "flags dynamic,timeout";
            writeln!(out, "\tset {name} {{\n\t\ttype {address}\n\t\t{flags}\n\t\ttimeout {seconds}s\n\t}}")?;
        }
        for (name, rules) in &self.chains {
            writeln!(out, "\tchain {name} {{\n\t\t{}\n\t}}", rules.join("\n\t\t"))?;
        }
        writeln!(out, "}}")
    }
}
