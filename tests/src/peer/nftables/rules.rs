//! What one Service port adds to the table.

use std::net::{IpAddr, SocketAddr};

use super::endpoints::Target;
use super::port::Port;
use super::table::{
    CLUSTER_IPS, FIREWALL, NO_ENDPOINT_NODE_PORTS, NO_ENDPOINT_SERVICES, SERVICE_IPS, SERVICE_NODE_PORTS,
    Table,
};
use super::{Family, Node};

/// Adds the chains and elements of a port.
pub(super) fn add(table: &mut Table, node: &Node, port: &Port) {
    let Port { cluster_ip, number, protocol, .. } = port;
    table.element(CLUSTER_IPS, cluster_ip.to_string());
    let key = format!("{cluster_ip} . {protocol} . {number}");
    if chosen(port, port.internal_local).is_empty() {
        table.element(NO_ENDPOINT_SERVICES, format!("{key} : {}", refusal(port)));
    } else {
        table.element(SERVICE_IPS, format!("{key} : goto {}", policy_chain(port, port.internal_local)));
    }
    if port.is_external() {
        external(table, node, port);
    }
    for address in port.external() {
        let key = format!("{address} . {protocol} . {number}");
        dispatch(table, [SERVICE_IPS, NO_ENDPOINT_SERVICES], &key, port);
    }
    if let Some(node_port) = port.node_port {
        dispatch(
            table,
            [SERVICE_NODE_PORTS, NO_ENDPOINT_NODE_PORTS],
            &format!("{protocol} . {node_port}"),
            port,
        );
    }
    firewall(table, node, port);
    // Pods and the node itself are never bound by the external policy.
    let cluster = port.is_external() || !port.internal_local;
    let local = port.internal_local || port.external_local && port.is_external();
    for (used, local) in [(cluster, false), (local, true)] {
        if used && !chosen(port, local).is_empty() {
            policy(table, node, port, local);
        }
    }
    let mut all = [port.endpoints.cluster.as_slice(), &port.endpoints.local].concat();
    all.sort_unstable();
    all.dedup();
    all.iter().for_each(|target| endpoint(table, port, *target));
}

/// The endpoints under a policy.
fn chosen(port: &Port, local: bool) -> &[Target] {
    if local { &port.endpoints.local } else { &port.endpoints.cluster }
}

/// S23, S24: where other nodes have endpoints, silence, so that load balancers try those; else a refusal.
fn refusal(port: &Port) -> &'static str {
    if port.endpoints.cluster.is_empty() { "goto reject-chain" } else { "drop" }
}

/// An address or NodePort of outside. With policy Local it may be both: translated for pods and the node, dropped for others.
fn dispatch(table: &mut Table, [served, unserved]: [&'static str; 2], key: &str, port: &Port) {
    if !port.endpoints.cluster.is_empty() {
        table.element(served, format!("{key} : goto external-{}", port.name));
    }
    if chosen(port, port.external_local).is_empty() {
        table.element(unserved, format!("{key} : {}", refusal(port)));
    }
}

fn policy_chain(port: &Port, local: bool) -> String {
    format!("{}-{}", if local { "local" } else { "service" }, port.name)
}

fn endpoint_name(port: &Port, (address, number): Target) -> String {
    format!("{}__{}/{number}", port.name, address.to_string().replace(':', "."))
}

/// The addresses of outside: masqueraded, so that replies come back this way; with policy Local only for the node itself.
fn external(table: &mut Table, node: &Node, port: &Port) {
    if port.endpoints.cluster.is_empty() {
        return;
    }
    let (ip, service) = (table.family().ip(), policy_chain(port, false));
    let mut rules = Vec::new();
    if port.external_local {
        // S25
        if let Some(pods) = pods(table.family(), node) {
            rules.push(format!("{ip} saddr {pods} goto {service}"));
        }
        rules.push("fib saddr type local jump mark-for-masquerade".into());
        rules.push(format!("fib saddr type local goto {service}"));
        if !port.endpoints.local.is_empty() {
            rules.push(format!("goto {}", policy_chain(port, true)));
        }
    } else {
        rules.push("jump mark-for-masquerade".into());
        rules.push(format!("goto {service}"));
    }
    table.chain(format!("external-{}", port.name), rules);
}

/// The pods' ranges as one operand.
fn pods(family: Family, node: &Node) -> Option<String> {
    let ranges: Vec<String> =
        family.of(&node.pods, |range| range.addr()).iter().map(ToString::to_string).collect();
    match ranges.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        more => Some(format!("{{ {} }}", more.join(", "))),
    }
}

/// The chain that chooses one of the endpoints.
fn policy(table: &mut Table, node: &Node, port: &Port, local: bool) {
    let ip = table.family().ip();
    let mut rules = Vec::new();
    if port.internal_local == local {
        // S21: without pods' ranges nobody is masqueraded.
        if let Some(pods) = pods(table.family(), node) {
            let cluster_ip = port.cluster_ip;
            rules.push(format!("{ip} daddr {cluster_ip} {ip} saddr != {pods} jump mark-for-masquerade"));
        }
    }
    let names: Vec<String> = chosen(port, local).iter().map(|target| endpoint_name(port, *target)).collect();
    if port.affinity_seconds.is_some() {
        rules.extend(names.iter().map(|name| format!("{ip} saddr @affinity-{name} goto endpoint-{name}")));
    }
    let choices: Vec<String> =
        names.iter().enumerate().map(|(place, name)| format!("{place} : goto endpoint-{name}")).collect();
    rules.push(format!("numgen random mod {} vmap {{ {} }}", names.len(), choices.join(", ")));
    table.chain(policy_chain(port, local), rules);
}

/// The chain that goes to one endpoint.
fn endpoint(table: &mut Table, port: &Port, target: Target) {
    let ip = table.family().ip();
    let name = endpoint_name(port, target);
    // S72: who reaches itself sees the node.
    let mut rules = vec![format!("{ip} saddr {} jump mark-for-masquerade", target.0)];
    if let Some(seconds) = port.affinity_seconds {
        table.affinity(format!("affinity-{name}"), seconds);
        // S64: each new connection winds the clock up again.
        rules.push(format!("update @affinity-{name} {{ {ip} saddr }}"));
    }
    rules.push(format!("meta l4proto {} dnat to {}", port.protocol, SocketAddr::from(target)));
    table.chain(format!("endpoint-{name}"), rules);
}

/// S39: who may not use the load balancer's addresses is dropped before anything is translated.
fn firewall(table: &mut Table, node: &Node, port: &Port) {
    if port.source_ranges.is_empty() || port.balancer_ips.is_empty() {
        return;
    }
    let ip = table.family().ip();
    let mut allowed: Vec<String> = port.source_ranges.iter().map(ToString::to_string).collect();
    let contains = |address: &IpAddr| port.source_ranges.iter().any(|range| range.contains(address));
    if node.addresses.iter().any(contains) {
        // The load balancer's address may be the source of what the node itself sends.
        allowed.extend(port.balancer_ips.iter().map(ToString::to_string));
    }
    let name = format!("firewall-{}", port.name);
    table.chain(name.clone(), vec![format!("{ip} saddr != {{ {} }} drop", allowed.join(", "))]);
    for address in &port.balancer_ips {
        table.element(FIREWALL, format!("{address} . {} . {} : goto {name}", port.protocol, port.number));
    }
}
