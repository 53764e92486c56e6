//! At which addresses a Service is served.

use super::*;

fn kinds(desired: &Desired) -> Vec<(FrontendKind, String)> {
    let mut kinds: Vec<_> =
        desired.frontends.iter().map(|(key, f)| (f.kind, format!("{}:{}", key.address, key.port))).collect();
    kinds.sort();
    kinds
}

#[test]
fn each_type_has_exactly_its_own_frontends() {
    // S95
    use FrontendKind::{ClusterIp, LoadBalancer, NodePort};
    let cluster_ip = (ClusterIp, format!("{CLUSTER_IP}:80"));
    let node_ports =
        ["127.0.0.1", NODE_IP, PEER_IP].map(|address| (NodePort, format!("{address}:{NODE_PORT}")));
    let load_balancer = (LoadBalancer, format!("{LB_IP}:80"));
    let expected: [(ServiceType, Vec<(FrontendKind, String)>); 4] = [
        (ServiceType::ClusterIp, vec![cluster_ip.clone()]),
        (ServiceType::NodePort, [vec![cluster_ip.clone()], node_ports.to_vec()].concat()),
        (ServiceType::LoadBalancer, [vec![cluster_ip], node_ports.to_vec(), vec![load_balancer]].concat()),
        (ServiceType::ExternalName, vec![]),
    ];
    for (service_type, expected) in expected {
        let mut service = web();
        service.external_ips.clear();
        service.service_type = service_type;
        assert_eq!(kinds(&on(vec![service], vec![])), expected, "{service_type:?}");
    }
}

#[test]
fn a_headless_service_has_no_frontends() {
    let mut service = web();
    service.cluster_ips.clear();
    assert_eq!(on(vec![service], vec![]), Desired::default());
}

#[test]
fn each_family_has_its_own_endpoints() {
    // S20
    let mut service = web();
    service.cluster_ips.push(ip(CLUSTER_IP6));
    let desired = on(vec![service], vec![slice("s", 8080, vec![endpoint("10.0.0.1", "a", "ready")])]);
    assert_eq!(shown(&desired, key(CLUSTER_IP, 80)), "10.0.0.1:8080 | 10.0.0.1:8080");
    assert_eq!(shown(&desired, key(CLUSTER_IP6, 80)), "reject | reject");
    assert_eq!(desired.frontends[&key(CLUSTER_IP6, 80)].total_endpoints, 0);
}

#[test]
fn an_address_that_two_services_claim_belongs_to_the_first_by_name_and_is_reported() {
    // S97
    let mut other = service("other", "10.96.0.11");
    other.ports[0].node_port = None;
    let desired = on(vec![web(), other], vec![]);
    assert_eq!(desired.frontends[&key(LB_IP, 80)].name.service.name(), "other");
    assert_eq!(desired.frontends[&key(CLUSTER_IP, 80)].name.service.name(), "web");
    let problems: Vec<String> = desired.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "Service `default/web:http` is not served at 203.0.113.9 port 80: `default/other:http` has it; change one of the two",
            "Service `default/web:http` is not served at 198.51.100.9 port 80: `default/other:http` has it; change one of the two",
        ]
    );
    // The other one goes: the address ends at the right one.
    assert_eq!(on(vec![web()], vec![]).frontends[&key(LB_IP, 80)].name.service.name(), "web");
}

#[test]
fn services_share_an_address_with_different_ports_or_protocols() {
    // S98
    let mut other = service("other", "10.96.0.11");
    other.external_ips.clear();
    other.ports[0].protocol = Protocol::Udp;
    other.ports[0].node_port = None;
    let desired = on(vec![web(), other], vec![]);
    assert_eq!(*desired.problems, []);
    let udp = FrontendKey { protocol: 17, ..key(LB_IP, 80) };
    assert_eq!(desired.frontends[&udp].name.service.name(), "other");
    assert_eq!(desired.frontends[&key(LB_IP, 80)].name.service.name(), "web");
}

#[test]
fn sctp_is_refused_visibly() {
    // S92
    let mut service = web();
    service.ports[0].protocol = Protocol::Sctp;
    let desired = on(vec![service], vec![]);
    assert!(desired.frontends.is_empty());
    assert!(matches!(desired.problems[..], [Problem::Sctp { .. }]));
}

#[test]
fn other_nodes_addresses_are_left_out_before_they_fill_the_table() {
    let mut cluster = cluster(vec![web()], vec![]);
    for number in 0..70_000_u32 {
        let name = format!("n{number}");
        let address = IpAddr::from(std::net::Ipv4Addr::from(0x0b00_0000 + number));
        let node = Node { name, addresses: vec![address], pod_cidrs: vec![], zone: None, object: None };
        cluster.insert(Resource::Node(node));
    }
    let desired = resolve(&cluster, &node());
    assert_eq!(shown(&desired, key(NODE_IP, NODE_PORT)), "reject | reject");
    assert_eq!(shown(&desired, key("11.0.0.0", NODE_PORT)), "not served");
    assert_eq!(desired.frontends.len(), 5);
}

#[test]
fn equal_sets_are_one_set() {
    let desired = on(vec![web()], vec![slice("s", 8080, vec![endpoint("10.0.0.1", "a", "ready")])]);
    let first = &desired.frontends[&key(CLUSTER_IP, 80)].inside;
    for frontend in desired.frontends.values() {
        let inside_only = frontend.flags & Frontend::INSIDE_ONLY != 0;
        assert!(Arc::ptr_eq(first, &frontend.inside));
        assert!(inside_only || Arc::ptr_eq(first, &frontend.outside));
    }
}
