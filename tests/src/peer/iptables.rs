//! The rules that kube-proxy of Kubernetes 1.36 writes in its iptables mode: same tables, chains, names and order, hence
//! the same work for each packet.
//!
//! Written is what Services with the policy Cluster need. Session affinity, source ranges, the policy Local and Services
//! without endpoints have rules of their own in kube-proxy, and none here.

mod names;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::nftables::port::{Port, Slices, ports};
use super::nftables::{Family, Node};
use names::{Names, port_name};

/// Rules of one family, as `iptables-restore` reads them: what there is already is replaced.
#[derive(Default)]
struct Rules {
    chains: String,
    services: String,
    node_ports: String,
    others: String,
}

/// For each family of the node: the program that loads the rules, and the rules.
#[must_use]
pub fn rules(node: &Node, services: &[Service], slices: &[EndpointSlice]) -> Vec<(&'static str, String)> {
    let slices = Slices::new(slices);
    let families = [(Family::V4, "iptables-nft-restore"), (Family::V6, "ip6tables-nft-restore")];
    families
        .into_iter()
        .filter(|(family, _)| node.addresses.iter().any(|address| family.has(*address)))
        .map(|(family, program)| {
            let mut rules = Rules::default();
            for service in services {
                for port in ports(service, &slices, family, &node.name) {
                    rules.add(family, node, &port);
                }
            }
            (program, rules.text(family))
        })
        .collect()
}

impl Rules {
    fn add(&mut self, family: Family, node: &Node, port: &Port) {
        if port.endpoints.cluster.is_empty() {
            return;
        }
        let name = port_name(port);
        let Port { protocol, number, .. } = port;
        let Names { service, external } = Names::new(port);
        let to = |comment: &str, address: &dyn std::fmt::Display, chain: &str| {
            format!(
                "-A KUBE-SERVICES -m comment --comment \"{name} {comment}\" -m {protocol} -p {protocol} -d {address} --dport {number} -j {chain}\n"
            )
        };
        self.services += &to("cluster IP", &port.cluster_ip, &service);
        for address in &port.external_ips {
            self.services += &to("external IP", address, &external);
        }
        for address in &port.balancer_ips {
            self.services += &to("loadbalancer IP", address, &external);
        }
        if port.is_external() {
            self.external(port, &name, &service, &external);
        }
        self.service(family, node, port, &name, &service);
    }

    /// Connections from outside come from the node's address, so that replies come back this way.
    fn external(&mut self, port: &Port, name: &str, service: &str, external: &str) {
        if let Some(node_port) = port.node_port {
            let protocol = &port.protocol;
            let rule = format!(
                "-A KUBE-NODEPORTS -m comment --comment {name} -m {protocol} -p {protocol} --dport {node_port} -j {external}\n"
            );
            self.node_ports += &rule;
        }
        self.chain(external);
        let comment = format!("masquerade traffic for {name} external destinations");
        self.rule(&format!("{external} -m comment --comment \"{comment}\" -j KUBE-MARK-MASQ"));
        self.rule(&format!("{external} -j {service}"));
    }

    /// The chain that chooses one of the endpoints: each is taken with the chance that is its share of those that are left.
    fn service(&mut self, family: Family, node: &Node, port: &Port, name: &str, service: &str) {
        let Port { protocol, number, cluster_ip, .. } = port;
        self.chain(service);
        // kube-proxy refuses several ranges of pods of one family.
        if let Some(pods) = family.of(&node.pods, |range| range.addr()).first() {
            let comment = format!("{name} cluster IP");
            self.rule(&format!(
                "{service} -m comment --comment \"{comment}\" -m {protocol} -p {protocol} -d {cluster_ip} --dport {number} ! -s {pods} -j KUBE-MARK-MASQ"
            ));
        }
        let count = port.endpoints.cluster.len();
        for (place, target) in port.endpoints.cluster.iter().enumerate() {
            let target = SocketAddr::from(*target);
            let endpoint = names::endpoint(port, target);
            let share = match count - place {
                1 => String::new(),
                left => format!(" -m statistic --mode random --probability {:.10}", 1.0 / left as f64),
            };
            self.rule(&format!("{service} -m comment --comment \"{name} -> {target}\"{share} -j {endpoint}"));
            self.chain(&endpoint);
            self.rule(&format!(
                "{endpoint} -m comment --comment {name} -s {} -j KUBE-MARK-MASQ",
                target.ip()
            ));
            self.rule(&format!(
                "{endpoint} -m comment --comment {name} -m {protocol} -p {protocol} -j DNAT --to-destination {target}"
            ));
        }
    }

    fn chain(&mut self, name: &str) {
        // Writing to a string never fails.
        writeln!(self.chains, ":{name} - [0:0]").ok();
    }

    fn rule(&mut self, rule: &str) {
        writeln!(self.others, "-A {rule}").ok();
    }

    fn text(&self, family: Family) -> String {
        let loopback = match family {
            Family::V4 => {
                "-A KUBE-FIREWALL -m comment --comment \"block incoming localnet connections\" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n"
            }
            Family::V6 => "",
        };
        let Self { chains, services, node_ports, others } = self;
        [
            FILTER, loopback, "COMMIT\n", NAT_CHAINS, chains, NAT_HOOKS, node_ports, services, LAST, others,
            "COMMIT\n",
        ]
        .concat()
    }
}

/// The filter table: kube-proxy's chains, and the jumps to them from the kernel's.
const FILTER: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment \"kubernetes health check service ports\" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
";

const NAT_CHAINS: &str = "*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
";

const NAT_HOOKS: &str = "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully
";

const LAST: &str = "-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
";
