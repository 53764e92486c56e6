//! Who may use an address, where NodePorts are, and how backends are picked.

use super::*;

fn ranges(service: &Service) -> Vec<String> {
    let desired = on(vec![service.clone()], vec![]);
    desired.ranges.values().flat_map(|ranges| ranges.iter().map(ToString::to_string)).collect()
}

fn guarded(desired: &Desired) -> Vec<FrontendKind> {
    let guarded = desired.frontends.values().filter(|it| it.flags & Frontend::RANGES != 0);
    guarded.map(|frontend| frontend.kind).collect()
}

fn restricted(texts: &[&str]) -> Service {
    Service { source_ranges: texts.iter().map(|text| text.parse().unwrap()).collect(), ..web() }
}

#[test]
fn source_ranges_guard_the_load_balancer_address_and_nothing_else() {
    // S39
    let desired = on(vec![restricted(&["203.0.113.0/25", "198.51.100.1/24"])], vec![]);
    assert_eq!(guarded(&desired), [FrontendKind::LoadBalancer]);
    assert_eq!(
        ranges(&restricted(&["203.0.113.0/25", "198.51.100.1/24"])),
        ["198.51.100.0/24", "203.0.113.0/25"]
    );
    assert_eq!(*desired.problems, []);
}

#[test]
fn a_range_of_everything_is_no_restriction() {
    // S19
    let desired = on(vec![restricted(&["203.0.113.0/25", "0.0.0.0/0"])], vec![]);
    assert_eq!((guarded(&desired), desired.ranges.len()), (vec![], 0));
}

#[test]
fn each_family_is_guarded_by_its_own_ranges_only() {
    // S20: with ranges of the other family alone it is open, as with kube-proxy
    let mut service = restricted(&["203.0.113.0/25"]);
    service.cluster_ips.push(ip(CLUSTER_IP6));
    service.load_balancer_ips.push(ip("2001:db8::9"));
    let flags = |service: &Service, address: &str| {
        on(vec![service.clone()], vec![]).frontends[&key(address, 80)].flags & Frontend::RANGES
    };
    assert_eq!((flags(&service, LB_IP), flags(&service, "2001:db8::9")), (Frontend::RANGES, 0));
    service.source_ranges = vec!["0.0.0.0/0".parse().unwrap(), "2001:db8::/64".parse().unwrap()];
    assert_eq!((flags(&service, LB_IP), flags(&service, "2001:db8::9")), (0, Frontend::RANGES));
    assert_eq!(ranges(&service), ["2001:db8::/64"]);
}

#[test]
fn a_range_with_the_node_in_it_lets_the_load_balancer_address_in_as_well() {
    // S39
    assert_eq!(ranges(&restricted(&["192.168.0.0/24"])), ["192.168.0.0/24", "203.0.113.9/32"]);
    assert_eq!(ranges(&restricted(&["192.168.1.0/24"])), ["192.168.1.0/24"]);
}

#[test]
fn affinity_is_on_every_frontend_of_the_service_with_its_own_time() {
    // S63, S69
    let mut service = web();
    service.affinity_seconds = Some(10_800);
    let seconds = |service: &Service| -> BTreeSet<u32> {
        on(vec![service.clone()], vec![]).frontends.values().map(|frontend| frontend.affinity).collect()
    };
    assert_eq!(seconds(&service), [10_800].into());
    service.affinity_seconds = Some(5);
    assert_eq!(seconds(&service), [5].into());
    // S66
    service.affinity_seconds = None;
    assert_eq!(seconds(&service), [0].into());
    assert_eq!(*on(vec![service], vec![]).problems, []);
}

#[test]
fn affinity_stays_among_local_endpoints_where_the_policy_does() {
    // S22, S70
    let mut service = web();
    service.internal_policy = TrafficPolicy::Local;
    service.external_policy = TrafficPolicy::Local;
    let desired = on(vec![service], vec![slice("s", 8080, vec![endpoint("10.0.0.1", "a", "ready")])]);
    let local = Frontend::INSIDE_LOCAL | Frontend::KEEP_CLIENT;
    assert_eq!(desired.frontends[&key(CLUSTER_IP, 80)].flags & local, Frontend::INSIDE_LOCAL);
    assert_eq!(desired.frontends[&key(NODE_IP, NODE_PORT)].flags & local, Frontend::KEEP_CLIENT);
}

#[test]
fn cluster_ips_are_marked_and_nothing_else_is() {
    // S35, S36
    let mut service = web();
    service.cluster_ips.push(ip(CLUSTER_IP6));
    let mut headless = self::service("headless", "10.96.0.11");
    headless.cluster_ips.clear();
    let desired = on(vec![service, headless], vec![]);
    assert_eq!(desired.addresses, [ip(CLUSTER_IP), ip(CLUSTER_IP6)].into_iter().collect());
}

fn at(rule: NodePortAddresses) -> Vec<String> {
    let mut cluster = cluster(vec![web()], vec![]);
    Arc::make_mut(cluster.nodes.get_mut("b").unwrap()).addresses.push(ip("10.9.0.2"));
    let mut node = LocalNode { node_port_addresses: rule, ..node() };
    node.addresses.push(ip("10.9.0.1"));
    let desired = resolve(&cluster, &node);
    let node_ports = desired.frontends.iter().filter(|(_, it)| it.kind == FrontendKind::NodePort);
    node_ports.map(|(key, _)| key.address.to_string()).collect()
}

#[test]
fn node_ports_are_where_they_are_wanted_on_this_node_and_on_the_others() {
    // S75, S108
    let all = ["10.9.0.1", "10.9.0.2", "127.0.0.1", NODE_IP, PEER_IP];
    assert_eq!(at(NodePortAddresses::All), all);
    assert_eq!(at(NodePortAddresses::Primary), [NODE_IP, PEER_IP]);
    assert_eq!(at(NodePortAddresses::In(vec!["10.9.0.0/24".parse().unwrap()])), ["10.9.0.1", "10.9.0.2"]);
    let loopback = NodePortAddresses::In(vec!["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(at(loopback), ["127.0.0.1"]);
}

#[test]
fn other_nodes_and_loopback_node_ports_are_for_clients_of_this_node_only() {
    // S75: of IPv4 only
    let mut service = web();
    service.cluster_ips.push(ip(CLUSTER_IP6));
    let endpoints = vec![endpoint("10.0.0.1", "a", "ready"), endpoint("fd00::1", "a", "ready")];
    let desired = on(vec![service.clone()], vec![slice("s", 8080, endpoints.clone())]);
    assert_eq!(shown(&desired, key("127.0.0.1", NODE_PORT)), "10.0.0.1:8080 | leave");
    assert_eq!(shown(&desired, key(PEER_IP, NODE_PORT)), "10.0.0.1:8080 | leave");
    assert_eq!(shown(&desired, key("::1", NODE_PORT)), "not served");
    // Policy Local: the node's own processes use all endpoints (S21), the other node decides for itself (S26).
    service.external_policy = TrafficPolicy::Local;
    let desired = on(vec![service], vec![slice("s", 8080, endpoints)]);
    assert_eq!(shown(&desired, key("127.0.0.1", NODE_PORT)), "10.0.0.1:8080 | leave");
    assert_eq!(shown(&desired, key(PEER_IP, NODE_PORT)), "not served");
}

#[test]
fn a_family_without_a_cluster_ip_is_not_served() {
    // S20
    let mut service = web();
    service.load_balancer_ips.push(ip("2001:db8::9"));
    let desired = on(vec![service], vec![]);
    assert!(desired.frontends.keys().all(|key| key.address.is_ipv4()));
}

#[test]
fn the_algorithm_is_an_annotation_and_an_unknown_one_is_named() {
    let with = |value: &str| {
        let mut service = web();
        service.annotations.insert(ALGORITHM.into(), value.into());
        on(vec![service], vec![])
    };
    let hashed = |desired: &Desired| desired.frontends.values().all(|it| it.flags & Frontend::HASHED != 0);
    assert!(hashed(&with("maglev")));
    assert!(!hashed(&with("random")) && with("random").problems.is_empty());
    let unknown = with("least");
    assert!(!hashed(&unknown));
    assert_eq!(
        unknown.problems[0].to_string(),
        "Service `default/web` picks backends at random: `least` in the annotation `fairway.dev/algorithm` is no algorithm; use `random` or `maglev`"
    );
}

#[test]
fn only_addresses_that_every_node_serves_alike_may_be_reached_directly() {
    let with = |change: &dyn Fn(&mut Service)| {
        let mut service = web();
        service.annotations.insert(ALGORITHM.into(), "maglev".into());
        change(&mut service);
        let desired = on(vec![service], vec![]);
        let direct = desired.frontends.values().filter(|it| it.flags & Frontend::DIRECT != 0);
        direct.map(|it| it.kind).collect::<std::collections::BTreeSet<_>>()
    };
    let direct = with(&|_| {});
    assert!(direct.contains(&FrontendKind::LoadBalancer) || direct.contains(&FrontendKind::ExternalIp));
    assert!(!direct.contains(&FrontendKind::NodePort) && !direct.contains(&FrontendKind::ClusterIp));
    assert!(with(&|service| service.affinity_seconds = Some(60)).is_empty());
    assert!(with(&|service| service.external_policy = TrafficPolicy::Local).is_empty());
    assert!(with(&|service| service.annotations.clear()).is_empty());
}

#[test]
fn endpoints_that_answer_are_named_whether_they_are_used_or_not() {
    // S57
    let mut service = web();
    service.internal_policy = TrafficPolicy::Local;
    service.service_type = ServiceType::ClusterIp;
    service.external_ips.clear();
    let endpoints = vec![
        endpoint("10.0.0.1", "a", "ready"),
        endpoint("10.0.0.2", "b", "ready"),
        endpoint("10.0.0.3", "a", "serving"),
        endpoint("10.0.0.4", "a", "unready"),
        endpoint("10.0.0.5", "a", "dead"),
    ];
    let desired = on(vec![service], vec![slice("s", 8080, endpoints)]);
    assert_eq!(shown(&desired, key(CLUSTER_IP, 80)), "10.0.0.1:8080 | 10.0.0.1:8080");
    let serving: Vec<String> = desired.serving.values().flat_map(|set| names(set)).collect();
    assert_eq!(serving, ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]);
}
