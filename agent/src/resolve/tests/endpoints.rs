//! Which endpoints are usable.

use super::*;

fn cluster_ip_set(endpoints: Vec<Endpoint>) -> String {
    shown(&on(vec![web()], vec![slice("s", 8080, endpoints)]), key(CLUSTER_IP, 80))
}

#[test]
fn endpoints_that_are_not_ready_get_no_connections() {
    // S2
    let set = cluster_ip_set(vec![endpoint("10.0.0.1", "a", "ready"), endpoint("10.0.0.2", "a", "unready")]);
    assert_eq!(set, "10.0.0.1:8080 | 10.0.0.1:8080");
}

#[test]
fn serving_terminating_endpoints_are_used_when_none_is_ready() {
    // S2
    let set =
        cluster_ip_set(vec![endpoint("10.0.0.1", "a", "serving"), endpoint("10.0.0.2", "b", "unready")]);
    assert_eq!(set, "10.0.0.1:8080 | 10.0.0.1:8080");
}

#[test]
fn the_fallback_is_decided_for_cluster_and_local_separately() {
    // S2
    let mut service = web();
    service.external_policy = TrafficPolicy::Local;
    let endpoints = vec![endpoint("10.0.0.1", "a", "serving"), endpoint("10.0.0.2", "b", "ready")];
    let desired = on(vec![service], vec![slice("s", 8080, endpoints)]);
    assert_eq!(shown(&desired, key(CLUSTER_IP, 80)), "10.0.0.2:8080 | 10.0.0.2:8080");
    assert_eq!(shown(&desired, key(NODE_IP, NODE_PORT)), "10.0.0.2:8080 | 10.0.0.1:8080 keep-client");
}

#[test]
fn a_terminating_endpoint_that_does_not_serve_is_never_used() {
    // S3
    let desired = on(vec![web()], vec![slice("s", 8080, vec![endpoint("10.0.0.1", "a", "dead")])]);
    for (key, frontend) in &desired.frontends {
        let outside = if frontend.flags & Frontend::INSIDE_ONLY == 0 { "reject" } else { "leave" };
        assert_eq!(shown(&desired, *key), format!("reject | {outside}"));
    }
    assert_eq!(desired.frontends[&key(CLUSTER_IP, 80)].total_endpoints, 1);
}

#[test]
fn a_terminating_endpoint_elsewhere_turns_reject_into_drop() {
    // S4
    let mut service = web();
    service.external_policy = TrafficPolicy::Local;
    let desired = on(vec![service], vec![slice("s", 8080, vec![endpoint("10.0.0.1", "b", "serving")])]);
    assert_eq!(shown(&desired, key(NODE_IP, NODE_PORT)), "10.0.0.1:8080 | drop keep-client");
}

fn hinted(address: &str, node: &str, zones: &[&str], nodes: &[&str]) -> Endpoint {
    Endpoint {
        hint_zones: zones.iter().map(ToString::to_string).collect(),
        hint_nodes: nodes.iter().map(ToString::to_string).collect(),
        ..endpoint(address, node, "ready")
    }
}

#[test]
fn hints_narrow_the_set_only_if_every_ready_endpoint_has_one() {
    let one = || hinted("10.0.0.1", "a", &["z1"], &[]);
    let two = || hinted("10.0.0.2", "b", &["z2"], &[]);
    // S5
    assert_eq!(cluster_ip_set(vec![one(), two()]), "10.0.0.1:8080 | 10.0.0.1:8080");
    // S5: a ready endpoint without a hint
    let set = cluster_ip_set(vec![one(), two(), endpoint("10.0.0.3", "b", "ready")]);
    assert_eq!(set, "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080 | 10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080");
    // S5: those that are not ready do not count
    let set = cluster_ip_set(vec![one(), two(), endpoint("10.0.0.3", "b", "unready")]);
    assert_eq!(set, "10.0.0.1:8080 | 10.0.0.1:8080");
    // S5: none for this zone
    assert_eq!(cluster_ip_set(vec![two()]), "10.0.0.2:8080 | 10.0.0.2:8080");
}

#[test]
fn node_hints_come_before_zone_hints() {
    // S6
    let one = hinted("10.0.0.1", "a", &["z1"], &["a"]);
    let two = hinted("10.0.0.2", "b", &["z1"], &["b"]);
    let other = hinted("10.0.0.3", "b", &["z2"], &["b"]);
    let set = cluster_ip_set(vec![one, two.clone(), other.clone()]);
    assert_eq!(set, "10.0.0.1:8080 | 10.0.0.1:8080");
    assert_eq!(cluster_ip_set(vec![two, other]), "10.0.0.2:8080 | 10.0.0.2:8080");
}

#[test]
fn hints_do_not_narrow_the_local_set() {
    // S7
    let mut service = web();
    service.external_policy = TrafficPolicy::Local;
    let endpoints = vec![hinted("10.0.0.1", "a", &["z2"], &[]), hinted("10.0.0.2", "b", &["z1"], &[])];
    let desired = on(vec![service], vec![slice("s", 8080, endpoints)]);
    assert_eq!(shown(&desired, key(LB_IP, 80)), "10.0.0.2:8080 | 10.0.0.1:8080 keep-client");
}

#[test]
fn hints_are_read_from_endpoints_of_the_port_and_family_only() {
    // S8
    let mut other_port = slice("t", 9090, vec![endpoint("10.0.0.7", "b", "ready")]);
    other_port.ports[0].name = "metrics".into();
    let endpoints = vec![
        hinted("10.0.0.1", "a", &["z1"], &[]),
        hinted("10.0.0.2", "b", &["z2"], &[]),
        endpoint("fd00::1", "b", "ready"),
    ];
    let desired = on(vec![web()], vec![slice("s", 8080, endpoints), other_port]);
    assert_eq!(shown(&desired, key(CLUSTER_IP, 80)), "10.0.0.1:8080 | 10.0.0.1:8080");
}

#[test]
fn an_address_given_to_a_new_pod_counts_as_the_new_pod() {
    // S10
    let old = slice("s", 8080, vec![endpoint("10.0.0.1", "b", "dead")]);
    let new = slice("t", 8080, vec![endpoint("10.0.0.1", "a", "ready")]);
    for (first, second) in [("s", "t"), ("t", "s")] {
        let (mut old, mut new) = (old.clone(), new.clone());
        old.name = ObjectName::new(old.name.namespace(), first);
        new.name = ObjectName::new(new.name.namespace(), second);
        let desired = on(vec![web()], vec![old, new]);
        let frontend = &desired.frontends[&key(CLUSTER_IP, 80)];
        assert_eq!(names(&frontend.inside), ["10.0.0.1:8080"]);
        assert_eq!(frontend.inside[0].flags, backend_flags::LOCAL);
        assert_eq!(frontend.total_endpoints, 1);
    }
}

#[test]
fn one_address_with_two_ports_is_two_endpoints() {
    // S11, S15
    let slices = vec![
        slice("s", 8080, vec![endpoint("10.0.0.1", "a", "ready")]),
        slice("t", 8081, vec![endpoint("10.0.0.1", "a", "ready"), endpoint("10.0.0.2", "a", "ready")]),
    ];
    let desired = on(vec![web()], slices);
    let set = &desired.frontends[&key(CLUSTER_IP, 80)].inside;
    assert_eq!(names(set), ["10.0.0.1:8080", "10.0.0.1:8081", "10.0.0.2:8081"]);
}

#[test]
fn slices_of_a_service_merge_by_port_name_and_protocol() {
    // S12
    let mut udp = slice("u", 53, vec![endpoint("10.0.0.3", "a", "ready")]);
    udp.ports[0].protocol = Protocol::Udp;
    let slices = vec![
        slice("s", 8080, vec![endpoint("10.0.0.2", "a", "ready")]),
        slice("t", 8080, vec![endpoint("10.0.0.1", "b", "ready")]),
        udp,
    ];
    let mut cluster = cluster(vec![web()], slices);
    let set = |cluster: &Cluster| shown(&resolve(cluster, &node()), key(CLUSTER_IP, 80));
    assert_eq!(set(&cluster), "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080 10.0.0.2:8080");
    cluster.slices.remove(&ObjectName::new("default", "s"));
    assert_eq!(set(&cluster), "10.0.0.1:8080 | 10.0.0.1:8080");
}

#[test]
fn a_slice_without_ports_is_no_endpoint() {
    // S13
    let mut portless = slice("s", 8080, vec![endpoint("10.0.0.1", "a", "ready")]);
    portless.ports.clear();
    let desired = on(vec![web()], vec![portless, slice("t", 8080, vec![endpoint("10.0.0.2", "a", "ready")])]);
    assert_eq!(shown(&desired, key(CLUSTER_IP, 80)), "10.0.0.2:8080 | 10.0.0.2:8080");
}

#[test]
fn a_slice_waits_for_its_service() {
    // S14
    let orphan = slice("s", 8080, vec![endpoint("10.0.0.1", "a", "ready")]);
    assert_eq!(on(vec![], vec![orphan.clone()]), Desired::default());
    assert_eq!(shown(&on(vec![web()], vec![]), key(CLUSTER_IP, 80)), "reject | reject");
    assert_eq!(shown(&on(vec![web()], vec![orphan]), key(CLUSTER_IP, 80)), "10.0.0.1:8080 | 10.0.0.1:8080");
}

#[test]
fn endpoints_that_are_not_ready_are_reachable_when_published() {
    // S17
    let mut service = web();
    let endpoints = vec![endpoint("10.0.0.1", "a", "unready"), endpoint("10.0.0.2", "a", "serving")];
    service.publish_not_ready = true;
    let desired = on(vec![service], vec![slice("s", 8080, endpoints)]);
    assert_eq!(names(&desired.frontends[&key(CLUSTER_IP, 80)].inside), ["10.0.0.1:8080", "10.0.0.2:8080"]);
}

#[test]
fn an_endpoint_is_local_by_node_name_or_by_node_address() {
    let mut host = endpoint(NODE_IP, "", "ready");
    host.node = None;
    let endpoints = vec![endpoint("10.0.0.1", "a", "ready"), endpoint("10.0.0.2", "b", "ready"), host];
    let desired = on(vec![web()], vec![slice("s", 8080, endpoints)]);
    let flags: Vec<u16> = desired.frontends[&key(CLUSTER_IP, 80)].inside.iter().map(|b| b.flags).collect();
    assert_eq!(flags, [backend_flags::LOCAL, 0, backend_flags::LOCAL]);
}
