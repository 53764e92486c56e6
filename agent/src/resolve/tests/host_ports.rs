//! Ports of the node that lead to its pods.

use super::*;

const NODE_IP6: &str = "fd00:1::1";

/// `tcp 8080@192.168.0.1:80`: protocol, the node's port, at which address, the pod's port.
pub(super) fn port(text: &str, pod_addresses: &[&str]) -> HostPort {
    let (protocol, rest) = text.split_once(' ').unwrap();
    let (place, pod_port) = rest.rsplit_once(':').unwrap();
    let (port, address) = place.split_once('@').map_or((place, None), |(port, at)| (port, Some(ip(at))));
    HostPort {
        address,
        port: port.parse().unwrap(),
        protocol: match protocol {
            "udp" => 17,
            "sctp" => 132,
            _ => 6,
        },
        pod_port: pod_port.parse().unwrap(),
        pod_addresses: pod_addresses.iter().map(|address| ip(address)).collect(),
    }
}

fn pod(name: &str, ports: Vec<HostPort>) -> (ObjectName, Arc<[HostPort]>) {
    (ObjectName::new("default", name), ports.into())
}

fn with(pods: Vec<(ObjectName, Arc<[HostPort]>)>) -> LocalNode {
    let addresses = vec![ip(NODE_IP), ip(NODE_IP6)];
    LocalNode { addresses, host_ports: pods.into_iter().collect(), ..node() }
}

/// `address/protocol inside | outside` of one port.
fn at(desired: &Desired, port: u16) -> Vec<String> {
    let rows = desired.frontends.iter().filter(|(key, _)| key.port == port);
    rows.map(|(key, _)| format!("{}/{} {}", key.address, key.protocol, shown(desired, *key))).collect()
}

fn problems(desired: &Desired) -> Vec<String> {
    desired.problems.iter().map(ToString::to_string).collect()
}

// S80
#[test]
fn a_host_port_leads_to_its_pod_at_each_of_the_nodes_addresses_of_the_pods_families() {
    let both = port("tcp 8080:80", &["10.244.1.2", "fd00:10::2"]);
    let one = port("udp 5353:53", &["10.244.1.3"]);
    let desired =
        resolve(&cluster(vec![], vec![]), &with(vec![pod("web", vec![both]), pod("dns", vec![one])]));
    assert_eq!(
        at(&desired, 8080),
        [
            "127.0.0.1/6 10.244.1.2:80 | leave",
            "192.168.0.1/6 10.244.1.2:80 | 10.244.1.2:80",
            "fd00:1::1/6 fd00:10::2:80 | fd00:10::2:80",
        ]
    );
    let dns = ["127.0.0.1/17 10.244.1.3:53 | leave", "192.168.0.1/17 10.244.1.3:53 | 10.244.1.3:53"];
    assert_eq!(at(&desired, 5353), dns);
    let web = &desired.frontends[&key(NODE_IP, 8080)];
    assert_eq!(
        (web.kind, web.name.to_string()),
        (FrontendKind::HostPort, "default/web:hostPort-8080".into())
    );
    assert_eq!(web.inside[0].flags, backend_flags::LOCAL);
    assert_eq!(names(&desired.serving[&web.name]), ["10.244.1.2:80", "fd00:10::2:80"]);
    assert!(desired.problems.is_empty() && desired.addresses.is_empty());
}

// S80
#[test]
fn one_port_with_different_addresses_and_protocols_leads_to_different_pods() {
    let desired = resolve(
        &cluster(vec![], vec![]),
        &with(vec![
            pod("one", vec![port("tcp 8080@127.0.0.1:80", &["10.244.1.2"])]),
            pod("two", vec![port("tcp 8080@192.168.0.1:80", &["10.244.1.3"])]),
            pod("three", vec![port("udp 8080@192.168.0.1:80", &["10.244.1.4"])]),
            pod("four", vec![port("tcp 8080@::0:80", &["10.244.1.5", "fd00:10::5"])]),
        ]),
    );
    assert_eq!(
        at(&desired, 8080),
        [
            "127.0.0.1/6 10.244.1.2:80 | leave",
            "192.168.0.1/6 10.244.1.3:80 | 10.244.1.3:80",
            "192.168.0.1/17 10.244.1.4:80 | 10.244.1.4:80",
            "fd00:1::1/6 fd00:10::5:80 | fd00:10::5:80",
        ]
    );
}

#[test]
fn of_one_pods_ports_the_one_that_names_the_address_counts_there() {
    let ports = vec![port("tcp 80:1", &["10.244.1.2"]), port("tcp 80@192.168.0.1:2", &["10.244.1.2"])];
    let desired = resolve(&cluster(vec![], vec![]), &with(vec![pod("web", ports)]));
    let rows = ["127.0.0.1/6 10.244.1.2:1 | leave", "192.168.0.1/6 10.244.1.2:2 | 10.244.1.2:2"];
    assert_eq!(at(&desired, 80), rows);
    assert!(desired.problems.is_empty());
    assert_eq!(names(desired.serving.values().next().unwrap()), ["10.244.1.2:1", "10.244.1.2:2"]);
}

// S92
#[test]
fn what_cannot_be_served_is_said_with_the_pod() {
    let ports = vec![
        port("sctp 1:1", &["10.244.1.2"]),
        port("tcp 2@203.0.113.7:2", &["10.244.1.2"]),
        port("tcp 3@::1:3", &["10.244.1.2", "fd00:10::2"]),
        port("tcp 4@127.0.0.2:4", &["10.244.1.2"]),
    ];
    let desired = resolve(&cluster(vec![], vec![]), &with(vec![pod("web", ports)]));
    assert!(desired.frontends.is_empty(), "nobody else's address is taken over");
    let said = problems(&desired);
    let words = ["203.0.113.7", "hostIP ::1 ", "127.0.0.2", "SCTP"];
    assert_eq!(said.len(), 4, "{said:?}");
    for word in words {
        assert!(said.iter().any(|it| it.contains(word) && it.contains("`default/web`")), "{word}: {said:?}");
    }
}

// S80
#[test]
fn a_node_port_wins_over_a_host_port_and_a_service_is_not_taken_for_the_pod_of_its_name() {
    let ports = vec![port(&format!("tcp {NODE_PORT}:80"), &["10.244.1.2"])];
    let local = with(vec![pod("web", ports)]);
    let slices = vec![slice("one", 8080, vec![endpoint("10.244.2.9", "b", "ready")])];
    let mut all = cluster(vec![web()], slices);
    let mut resolver = Resolver::default();
    let desired = resolver.resolve(&all, &local);
    assert_eq!(shown(&desired, key(NODE_IP, NODE_PORT)), "10.244.2.9:8080 | 10.244.2.9:8080");
    // The Service has no IPv6, and NodePorts are at 127.0.0.1, too.
    assert_eq!(problems(&desired).len(), 2, "{:?}", desired.problems);
    assert!(problems(&desired)[0].contains("hostPort 30080 of pod `default/web`"), "{:?}", desired.problems);
    assert!(desired.serving.len() == 2);

    all.remove(&fairway_proto::model::ResourceKey::Service(ObjectName::new("default", "web")));
    let desired = resolver.resolve(&all, &local);
    assert_eq!(shown(&desired, key(NODE_IP, NODE_PORT)), "10.244.1.2:80 | 10.244.1.2:80");
    assert!(desired.problems.is_empty());
    assert_eq!(resolver.resolve(&all, &with(vec![])), Desired::default());
}

// S101
#[test]
fn a_pod_that_comes_or_goes_is_resolved_alone() {
    let all = cluster(vec![web()], vec![]);
    let mut resolver = Resolver::default();
    let mut local = with(vec![pod("web", vec![port("tcp 80:80", &["10.244.1.2"])])]);
    resolver.resolve(&all, &local);
    assert_eq!(resolver.resolved(), 2);
    resolver.resolve(&all, &local);
    assert_eq!(resolver.resolved(), 0);
    let (name, ports) = pod("db", vec![port("tcp 81:81", &["10.244.1.3"])]);
    local.host_ports.insert(name.clone(), ports);
    resolver.resolve(&all, &local);
    assert_eq!(resolver.resolved(), 1);
    local.host_ports.remove(&name);
    assert!(at(&resolver.resolve(&all, &local), 81).is_empty());
    assert_eq!(resolver.resolved(), 1);
    // Where the node's ports are, concerns everybody.
    local.addresses.pop();
    resolver.resolve(&all, &local);
    assert_eq!(resolver.resolved(), 2);
}
