//! They prove nothing of Fairway, and so bear no numbers of statements.

use serde_json::{Value, json};

use super::table::{
    CLUSTER_IPS, FIREWALL, NO_ENDPOINT_NODE_PORTS, NO_ENDPOINT_SERVICES, SERVICE_IPS, SERVICE_NODE_PORTS,
};
use super::*;

const LOCAL: &str = "10.244.1.5";
const REMOTE: &str = "10.244.2.5";

fn node() -> Node {
    Node {
        name: "node1".into(),
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        pods: vec!["10.244.1.0/24".parse().unwrap(), "fd00:244::/64".parse().unwrap()],
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        node_ports: NodePorts::Primary,
    }
}

/// A Service `web` with port 80 by TCP, and these parts of its spec; the balancer's address is 203.0.113.9.
fn service(more: Value) -> Service {
    let mut spec = json!({"clusterIP": "10.96.0.1", "ports": [{"name": "p", "port": 80, "nodePort": 0}]});
    let is_balancer = more.get("type") == Some(&json!("LoadBalancer"));
    if is_balancer || more.get("type") == Some(&json!("NodePort")) {
        spec["ports"][0]["nodePort"] = json!(30080);
    }
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let mut service = json!({"metadata": {"name": "web"}, "spec": spec});
    if is_balancer {
        service["status"] = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}});
    }
    serde_json::from_value(service).unwrap()
}

/// Endpoints of the Service on port 8080: address, node, conditions.
fn slices(endpoints: &[(&str, &str, Value)]) -> Vec<EndpointSlice> {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(address, node, conditions)| json!({"addresses": [address], "nodeName": node, "conditions": conditions}))
        .collect();
    let slice = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
        "ports": [{"name": "p", "port": 8080}], "endpoints": endpoints,
    });
    vec![serde_json::from_value(slice).unwrap()]
}

fn ready(address: &'static str, node: &'static str) -> (&'static str, &'static str, Value) {
    (address, node, json!({}))
}

fn both() -> Vec<EndpointSlice> {
    slices(&[ready(LOCAL, "node1"), ready(REMOTE, "node2")])
}

/// The IPv4 table of node1.
fn table(service: &Service, slices: &[EndpointSlice]) -> Table {
    let mut table = Table::new(Family::V4, &node());
    for port in port::ports(service, &port::Slices::new(slices), Family::V4, "node1") {
        rules::add(&mut table, &node(), &port);
    }
    table
}

/// A chain's rules, with the Service's long names cut.
fn chain(table: &Table, name: &str) -> Vec<String> {
    let found =
        table.chains().iter().find(|(own, _)| *own == format!("{name}default/web/tcp/p") || own == name);
    let rules = found.map(|(_, rules)| rules.clone()).unwrap_or_default();
    rules.iter().map(|rule| rule.replace("default/web/tcp/p", "")).collect()
}

fn elements(table: &Table, map: &str) -> Vec<String> {
    table.elements(map).iter().map(|element| element.replace("default/web/tcp/p", "")).collect()
}

#[test]
fn a_cluster_ip_goes_to_one_of_its_endpoints_at_random() {
    let table = table(&service(json!({})), &both());
    assert_eq!(elements(&table, CLUSTER_IPS), ["10.96.0.1"]);
    assert_eq!(elements(&table, SERVICE_IPS), ["10.96.0.1 . tcp . 80 : goto service-"]);
    assert_eq!(
        chain(&table, "service-"),
        [
            "ip daddr 10.96.0.1 ip saddr != 10.244.1.0/24 jump mark-for-masquerade",
            "numgen random mod 2 vmap { 0 : goto endpoint-__10.244.1.5/8080, 1 : goto endpoint-__10.244.2.5/8080 }",
        ]
    );
    let endpoint =
        ["ip saddr 10.244.1.5 jump mark-for-masquerade", "meta l4proto tcp dnat to 10.244.1.5:8080"];
    assert_eq!(chain(&table, "endpoint-default/web/tcp/p__10.244.1.5/8080"), endpoint);
    assert!(elements(&table, NO_ENDPOINT_SERVICES).is_empty() && chain(&table, "external-").is_empty());
}

#[test]
fn addresses_of_outside_are_masqueraded() {
    let table = table(&service(json!({"type": "LoadBalancer", "externalIPs": ["198.51.100.7"]})), &both());
    assert_eq!(
        elements(&table, SERVICE_IPS),
        [
            "10.96.0.1 . tcp . 80 : goto service-",
            "198.51.100.7 . tcp . 80 : goto external-",
            "203.0.113.9 . tcp . 80 : goto external-",
        ]
    );
    assert_eq!(elements(&table, SERVICE_NODE_PORTS), ["tcp . 30080 : goto external-"]);
    assert_eq!(chain(&table, "external-"), ["jump mark-for-masquerade", "goto service-"]);
}

#[test]
fn an_external_policy_binds_neither_pods_nor_the_node() {
    let local = service(json!({"type": "NodePort", "externalTrafficPolicy": "Local"}));
    let short_circuits = [
        "ip saddr 10.244.1.0/24 goto service-",
        "fib saddr type local jump mark-for-masquerade",
        "fib saddr type local goto service-",
    ];
    let with = table(&local, &both());
    assert_eq!(chain(&with, "external-"), [short_circuits.as_slice(), &["goto local-"]].concat());
    assert_eq!(chain(&with, "local-"), ["numgen random mod 1 vmap { 0 : goto endpoint-__10.244.1.5/8080 }"]);
    assert!(elements(&with, NO_ENDPOINT_NODE_PORTS).is_empty());

    let without = table(&local, &slices(&[ready(REMOTE, "node2")]));
    assert_eq!(chain(&without, "external-"), short_circuits);
    assert_eq!(elements(&without, SERVICE_NODE_PORTS), ["tcp . 30080 : goto external-"]);
    assert_eq!(elements(&without, NO_ENDPOINT_NODE_PORTS), ["tcp . 30080 : drop"]);
}

#[test]
fn an_internal_policy_binds_the_cluster_ip_alone() {
    let local = service(json!({"type": "NodePort", "internalTrafficPolicy": "Local"}));
    let with = table(&local, &both());
    assert_eq!(elements(&with, SERVICE_IPS), ["10.96.0.1 . tcp . 80 : goto local-"]);
    assert_eq!(chain(&with, "local-").len(), 2);
    assert_eq!(chain(&with, "external-"), ["jump mark-for-masquerade", "goto service-"]);

    let without = table(&local, &slices(&[ready(REMOTE, "node2")]));
    assert!(elements(&without, SERVICE_IPS).is_empty());
    assert_eq!(elements(&without, NO_ENDPOINT_SERVICES), ["10.96.0.1 . tcp . 80 : drop"]);
    assert_eq!(elements(&without, SERVICE_NODE_PORTS), ["tcp . 30080 : goto external-"]);
}

#[test]
fn a_service_without_endpoints_refuses_by_every_address() {
    let gone = json!({"ready": false, "serving": false, "terminating": true});
    for none in [slices(&[]), slices(&[(LOCAL, "node1", gone)])] {
        let table = table(&service(json!({"type": "LoadBalancer"})), &none);
        let refused =
            ["10.96.0.1 . tcp . 80 : goto reject-chain", "203.0.113.9 . tcp . 80 : goto reject-chain"];
        assert_eq!(elements(&table, NO_ENDPOINT_SERVICES), refused);
        assert_eq!(elements(&table, NO_ENDPOINT_NODE_PORTS), ["tcp . 30080 : goto reject-chain"]);
        assert!(elements(&table, SERVICE_IPS).is_empty() && elements(&table, SERVICE_NODE_PORTS).is_empty());
    }
}

#[test]
fn endpoints_that_end_serve_where_there_are_no_others() {
    let ending = json!({"ready": false, "serving": true, "terminating": true});
    let local = service(json!({"type": "NodePort", "externalTrafficPolicy": "Local"}));
    let table = table(&local, &slices(&[(LOCAL, "node1", ending), ready(REMOTE, "node2")]));
    assert_eq!(chain(&table, "local-"), ["numgen random mod 1 vmap { 0 : goto endpoint-__10.244.1.5/8080 }"]);
    let cluster = chain(&table, "service-");
    assert_eq!(cluster[1], "numgen random mod 1 vmap { 0 : goto endpoint-__10.244.2.5/8080 }");
}

#[test]
fn a_client_keeps_its_endpoint_as_long_as_it_comes_back_in_time() {
    let config = json!({"clientIP": {"timeoutSeconds": 60}});
    let sticky = service(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}));
    let table = table(&sticky, &slices(&[ready(LOCAL, "node1")]));
    assert_eq!(
        chain(&table, "service-")[1..],
        [
            "ip saddr @affinity-__10.244.1.5/8080 goto endpoint-__10.244.1.5/8080",
            "numgen random mod 1 vmap { 0 : goto endpoint-__10.244.1.5/8080 }",
        ]
    );
    let endpoint = chain(&table, "endpoint-default/web/tcp/p__10.244.1.5/8080");
    assert_eq!(endpoint[1], "update @affinity-__10.244.1.5/8080 { ip saddr }");
    assert!(table.to_string().contains("flags dynamic,timeout\n\t\ttimeout 60s"));
}

#[test]
fn source_ranges_guard_the_load_balancer_alone() {
    let ranges = |ranges: Value| {
        table(&service(json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ranges})), &both())
    };
    let outside = ranges(json!([" 198.51.100.0/25", "2001:db8::/32"]));
    assert_eq!(elements(&outside, FIREWALL), ["203.0.113.9 . tcp . 80 : goto firewall-"]);
    assert_eq!(chain(&outside, "firewall-"), ["ip saddr != { 198.51.100.0/25 } drop"]);
    let with_node = ranges(json!(["192.0.2.0/24"]));
    assert_eq!(chain(&with_node, "firewall-"), ["ip saddr != { 192.0.2.0/24, 203.0.113.9 } drop"]);
    for open in [json!(["0.0.0.0/0", "198.51.100.0/25"]), json!(["2001:db8::/32"])] {
        assert!(elements(&ranges(open), FIREWALL).is_empty());
    }
}

#[test]
fn addresses_of_services_are_refused_at_other_ports_and_dropped_when_unused() {
    let table = table(&service(json!({})), &both());
    let unused = ["ip daddr @cluster-ips reject", "ip daddr { 10.96.0.0/16 } drop"];
    assert_eq!(chain(&table, "cluster-ips-check"), unused);
    let forward = chain(&table, "filter-forward");
    assert!(forward[1..].iter().all(|rule| rule.starts_with("ct state new jump")), "{forward:?}");
}

#[test]
fn services_that_are_headless_or_another_proxys_are_not_there() {
    let mut other = service(json!({}));
    let label = ("service.kubernetes.io/service-proxy-name".to_owned(), "other".to_owned());
    other.metadata.labels = Some([label].into());
    let headless = service(json!({"clusterIP": "None"}));
    for service in [other, headless, service(json!({"type": "ExternalName"}))] {
        assert!(elements(&table(&service, &both()), CLUSTER_IPS).is_empty());
    }
}

#[test]
fn each_family_has_a_table_of_its_own() {
    let dual = service(json!({"type": "NodePort", "clusterIPs": ["10.96.0.1", "fd00:96::1"]}));
    let script = script(&node(), &[dual], &both());
    let (v4, v6) = script.split_once("add table ip6 kube-proxy").unwrap();
    assert!(v4.contains("ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports"));
    assert!(v4.contains("10.96.0.1 . tcp . 80 : goto service-default/web/tcp/p"));
    // It has no endpoint there.
    assert!(v6.contains("fd00:96::1 . tcp . 80 : goto reject-chain"));
    assert!(v6.contains("elements = { 2001:db8::1 }"), "{v6}");
}

#[test]
fn node_ports_may_be_at_every_address_but_loopback_ones() {
    let all = Node { node_ports: NodePorts::All, ..node() };
    let script = script(&all, &[], &[]);
    assert!(script.contains(
        "fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports"
    ));
    assert!(
        script.contains(
            "fib daddr type local ip6 daddr != ::1 meta l4proto . th dport vmap @service-nodeports"
        )
    );
}
