//! Any cluster, resolved twice: by the resolver, and slowly by the words of SEMANTICS.md.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    OneOf(BTreeSet<(IpAddr, u16)>),
    Refusal,
    Silence,
    /// The packet is not Fairway's.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    service: String,
    inside: Answer,
    outside: Answer,
    guarded: bool,
    affinity: u32,
}

type Reachable = BTreeSet<(IpAddr, u16)>;

/// The endpoints of one Service port and family that may be used.
struct Usable {
    cluster: Reachable,
    local: Reachable,
    anywhere: bool,
}

fn answer(set: &Reachable, when_empty: Answer) -> Answer {
    if set.is_empty() { when_empty } else { Answer::OneOf(set.clone()) }
}

/// S12, S15: every slice of the Service gives the numbers of the port with this name and protocol. S8, S20: only
/// addresses of the family. S10: of two at one place the one that is not being stopped.
fn places<'a>(
    cluster: &'a Cluster,
    service: &Service,
    port: &ServicePort,
    v4: bool,
) -> BTreeMap<(IpAddr, u16), &'a Endpoint> {
    let mut places: BTreeMap<(IpAddr, u16), Vec<&Endpoint>> = BTreeMap::new();
    for slice in cluster.slices.values().filter(|slice| slice.service == service.name) {
        for number in &slice.ports {
            for endpoint in &slice.endpoints {
                let same = number.name == port.name && number.protocol == port.protocol;
                if same && endpoint.address.is_ipv4() == v4 {
                    places.entry((endpoint.address, number.port)).or_default().push(endpoint);
                }
            }
        }
    }
    let best = |mut all: Vec<&'a Endpoint>| {
        all.sort_by_key(|it| (it.terminating, !it.ready, !it.serving));
        all[0]
    };
    places.into_iter().map(|(place, all)| (place, best(all))).collect()
}

fn usable(cluster: &Cluster, service: &Service, port: &ServicePort, v4: bool, node: &LocalNode) -> Usable {
    let places = places(cluster, service, port, v4);
    // S2, S17
    let ready: BTreeMap<_, _> =
        places.iter().filter(|(_, it)| it.ready || service.publish_not_ready).collect();
    let stopping: BTreeMap<_, _> = places.iter().filter(|(_, it)| it.serving && it.terminating).collect();
    let is_local = |place: &(IpAddr, u16), endpoint: &Endpoint| {
        endpoint.node.as_deref() == Some(&node.name) || node.addresses.contains(&place.0)
    };
    let zone = node.zone.clone().unwrap_or_default();
    // S5, S6
    let hinted = |hints: fn(&Endpoint) -> &[String], wanted: &String| {
        let all_have = ready.values().all(|it| !hints(it).is_empty());
        let chosen: Reachable =
            ready.iter().filter(|(_, it)| hints(it).contains(wanted)).map(|(place, _)| **place).collect();
        (all_have && !chosen.is_empty()).then_some(chosen)
    };
    let by_hint = hinted(|it| &it.hint_nodes, &node.name).or_else(|| hinted(|it| &it.hint_zones, &zone));
    let names = |map: &BTreeMap<&(IpAddr, u16), &&Endpoint>| map.keys().map(|place| **place).collect();
    // S2, S3
    let cluster = match ready.is_empty() {
        true => names(&stopping),
        false => by_hint.unwrap_or_else(|| names(&ready)),
    };
    // S7: no topology here; S2: its own fallback.
    let here = |map: &BTreeMap<&(IpAddr, u16), &&Endpoint>| -> Reachable {
        map.iter().filter(|(place, it)| is_local(place, it)).map(|(place, _)| **place).collect()
    };
    let local = if here(&ready).is_empty() { here(&stopping) } else { here(&ready) };
    Usable { cluster, local, anywhere: !ready.is_empty() || !stopping.is_empty() }
}

fn guarded(service: &Service, v4: bool) -> bool {
    // S19, S20
    let ranges = service.source_ranges.iter().filter(|range| range.addr().is_ipv4() == v4);
    let mut lengths = ranges.map(|range| range.prefix_len()).peekable();
    lengths.peek().is_some() && lengths.all(|length| length > 0)
}

fn expected(cluster: &Cluster, node: &LocalNode) -> BTreeMap<FrontendKey, Expected> {
    let mut all = BTreeMap::new();
    for service in cluster.services.values() {
        for port in &service.ports {
            for v4 in [true, false] {
                let has_family = service.cluster_ips.iter().any(|it| it.is_ipv4() == v4);
                if has_family && service.service_type != ServiceType::ExternalName {
                    one(&mut all, cluster, node, service, port, v4);
                }
            }
        }
    }
    // What pods ask for comes after what Services do.
    node.host_ports.iter().for_each(|(pod, ports)| of_pod(&mut all, node, pod, ports));
    all
}

/// S80: a port that names its address goes before one that does not; only the node's own addresses, and 127.0.0.1 for its
/// own processes.
fn of_pod(all: &mut BTreeMap<FrontendKey, Expected>, node: &LocalNode, pod: &ObjectName, ports: &[HostPort]) {
    let everywhere = |port: &HostPort| port.address.is_none_or(|address| address.is_unspecified());
    let served = || ports.iter().filter(|port| port.protocol != 132);
    for port in served().filter(|it| !everywhere(it)).chain(served().filter(|it| everywhere(it))) {
        let own = node.addresses.iter().copied().chain([ip("127.0.0.1")]);
        let places = own.filter(|place| match port.address {
            Some(address) if everywhere(port) => address.is_ipv4() == place.is_ipv4(),
            Some(address) => address == *place,
            None => true,
        });
        for place in places {
            let of_family = port.pod_addresses.iter().filter(|address| address.is_ipv4() == place.is_ipv4());
            let backends: Reachable = of_family.map(|address| (*address, port.pod_port)).collect();
            if backends.is_empty() {
                continue;
            }
            let key = FrontendKey { address: place, protocol: port.protocol, port: port.port };
            let inside = Answer::OneOf(backends);
            all.entry(key).or_insert(Expected {
                service: format!("{pod}:hostPort-{}", port.port),
                outside: if place.is_loopback() { Answer::Nothing } else { inside.clone() },
                inside,
                guarded: false,
                affinity: 0,
            });
        }
    }
}

fn one(
    all: &mut BTreeMap<FrontendKey, Expected>,
    cluster: &Cluster,
    node: &LocalNode,
    service: &Service,
    port: &ServicePort,
    v4: bool,
) {
    let usable = usable(cluster, service, port, v4, node);
    // S23, S24: silence as long as somebody else has endpoints.
    let no_local = if usable.anywhere { Answer::Silence } else { Answer::Refusal };
    let everywhere = answer(&usable.cluster, Answer::Refusal);
    let here = answer(&usable.local, no_local);
    let mut add = |address: IpAddr, number: u16, inside: &Answer, outside: &Answer, guarded: bool| {
        if address.is_ipv4() == v4 {
            let key = FrontendKey { address, protocol: port.protocol as u8, port: number };
            all.entry(key).or_insert(Expected {
                service: format!("{}:{}", service.name, port.name),
                inside: inside.clone(),
                outside: outside.clone(),
                guarded,
                affinity: service.affinity_seconds.unwrap_or(0),
            });
        }
    };
    // S22: each policy has its own frontends.
    let internal = if service.internal_policy == TrafficPolicy::Local { &here } else { &everywhere };
    let external = if service.external_policy == TrafficPolicy::Local { &here } else { &everywhere };
    service.cluster_ips.iter().for_each(|address| add(*address, port.port, internal, internal, false));
    let balanced = service.service_type == ServiceType::LoadBalancer;
    if let Some(number) = port.node_port.filter(|_| balanced || service.service_type == ServiceType::NodePort)
    {
        // S21, S25: clients of the node use all endpoints.
        node.addresses.iter().for_each(|address| add(*address, number, &everywhere, external, false));
        // S75
        add(ip("127.0.0.1"), number, &everywhere, &Answer::Nothing, false);
        // S26: the other node decides.
        let others = cluster.nodes.values().filter(|other| other.name != node.name);
        for address in others.flat_map(|other| &other.addresses) {
            if service.external_policy == TrafficPolicy::Cluster {
                add(*address, number, &everywhere, &Answer::Nothing, false);
            }
        }
    }
    if balanced {
        for address in &service.load_balancer_ips {
            add(*address, port.port, &everywhere, external, guarded(service, v4));
        }
    }
    service.external_ips.iter().for_each(|address| add(*address, port.port, &everywhere, external, false));
}

/// The same, read from what the resolver says.
fn resolved(frontend: &DesiredFrontend) -> Expected {
    let set = |set: &[BackendRef]| set.iter().map(|it| (it.address, it.port)).collect::<Reachable>();
    let empty = |bit| if frontend.flags & bit != 0 { Answer::Silence } else { Answer::Refusal };
    let outside = answer(&set(&frontend.outside), empty(Frontend::OUTSIDE_DROPS));
    let inside_only = frontend.flags & Frontend::INSIDE_ONLY != 0;
    Expected {
        service: frontend.name.to_string(),
        inside: answer(&set(&frontend.inside), empty(Frontend::INSIDE_DROPS)),
        outside: if inside_only { Answer::Nothing } else { outside },
        guarded: frontend.flags & Frontend::RANGES != 0,
        affinity: frontend.affinity,
    }
}

fn some_of(items: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    let owned: Vec<String> = items.iter().map(ToString::to_string).collect();
    subsequence(owned, 0..=most)
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

pub(super) fn any_service(number: u8) -> impl Strategy<Value = Service> {
    let types = vec![
        ServiceType::ClusterIp,
        ServiceType::NodePort,
        ServiceType::LoadBalancer,
        ServiceType::LoadBalancer,
        ServiceType::ExternalName,
    ];
    let addresses = (
        some_of(&["4", "6"], 2),
        some_of(&["203.0.113.9", "2001:db8::9"], 2),
        some_of(&["198.51.100.9", "2001:db8:1::9"], 2),
        some_of(&["10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "::/0"], 3),
    );
    let rest = (policy(), policy(), any::<bool>(), prop::option::of(1..100_u32), 1..3_usize);
    (select(types), addresses, rest).prop_map(move |(service_type, addresses, rest)| {
        let (families, load_balancer, external, ranges) = addresses;
        let (internal_policy, external_policy, publish_not_ready, affinity_seconds, ports) = rest;
        let cluster_ip = |family: &String| match family.as_str() {
            "4" => ip(&format!("10.96.0.{number}")),
            _ => ip(&format!("fd00:96::{number}")),
        };
        let port = |index: usize| ServicePort {
            name: ["http", "dns"][index].into(),
            protocol: [Protocol::Tcp, Protocol::Udp][index],
            port: [80, 53][index],
            node_port: Some(30_000 + u16::from(number) * 2 + index as u16),
        };
        Service {
            name: ObjectName::new("default", format!("s{number}")),
            service_type,
            cluster_ips: families.iter().map(cluster_ip).collect(),
            external_ips: external.iter().map(|it| ip(it)).collect(),
            load_balancer_ips: load_balancer.iter().map(|it| ip(it)).collect(),
            ports: (0..ports).map(port).collect(),
            internal_policy,
            external_policy,
            affinity_seconds,
            source_ranges: ranges.iter().map(|it| it.parse().unwrap()).collect(),
            publish_not_ready,
            ..web()
        }
    })
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let address = select(vec!["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2", NODE_IP]);
    let conditions = (prop::bool::weighted(0.7), any::<bool>(), prop::bool::weighted(0.3));
    let node = prop::option::of(select(vec!["a", "b", "c"]));
    let hints = prop_oneof![
        1 => Just((vec![], vec![])),
        3 => (some_of(&["z1", "z2"], 2), some_of(&["a", "b"], 2)),
    ];
    (address, conditions, node, hints).prop_map(|(address, (ready, serving, terminating), node, hints)| {
        Endpoint {
            ready: ready && !terminating,
            serving: serving || ready && !terminating,
            terminating,
            node: node.map(Box::from),
            hint_zones: hints.0.into(),
            hint_nodes: hints.1.into(),
            ..endpoint(address, "", "ready")
        }
    })
}

pub(super) fn any_slice(number: u8) -> impl Strategy<Value = EndpointSlice> {
    let endpoints = prop::collection::vec(any_endpoint(), 0..5);
    (0..3_u8, endpoints, select(vec![8080, 9090]), any::<bool>()).prop_map(
        move |(service, endpoints, port, dns)| {
            let mut slice = slice(&format!("e{number}"), port, endpoints);
            slice.service = ObjectName::new("default", format!("s{service}"));
            if dns {
                let port = EndpointPort { name: "dns".into(), protocol: Protocol::Udp, port: 5353 };
                slice.ports.push(port);
            }
            slice
        },
    )
}

/// Ports that meet NodePorts, those of other pods, and each other; on a pod of one family or both.
fn any_host_ports() -> impl Strategy<Value = HostPorts> {
    let ports = some_of(
        &[
            "tcp 30000:80",
            "tcp 30002@192.168.0.1:81",
            "udp 30001@0.0.0.0:53",
            "tcp 8080:82",
            "tcp 8080@fd00:1::1:83",
            "tcp 8080@127.0.0.1:84",
            "sctp 8080:85",
            "tcp 80@203.0.113.9:86",
        ],
        8,
    );
    let families = select(vec![vec!["10.0.0.7"], vec!["fd00::7"], vec!["fd00::8", "10.0.0.8"]]);
    let pod = (prop::sample::select(vec!["s0", "s1"]), ports, families);
    prop::collection::vec(pod, 0..3).prop_map(|pods| {
        let pods = pods.into_iter().map(|(name, ports, addresses)| {
            let ports: Arc<[HostPort]> =
                ports.iter().map(|text| host_ports::port(text, &addresses)).collect();
            (ObjectName::new("default", name), ports)
        });
        pods.collect()
    })
}

fn any_cluster() -> impl Strategy<Value = (Cluster, LocalNode)> {
    let services = (prop::option::of(any_service(0)), any_service(1));
    let slices = (any_slice(0), any_slice(1), prop::option::of(any_slice(2)));
    let zone = prop::option::of(select(vec!["z1".to_owned(), "z2".to_owned()]));
    let six = any::<bool>();
    (services, slices, zone, six, any_host_ports()).prop_map(|(services, slices, zone, six, host_ports)| {
        let ((first, second), (one, two, three)) = (services, slices);
        let services = first.into_iter().chain([second]).collect();
        let slices = [one, two].into_iter().chain(three).collect();
        let mut node = LocalNode { zone, host_ports, ..node() };
        node.addresses.extend(six.then(|| ip("fd00:1::1")));
        (cluster(services, slices), node)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frontend_of_any_cluster_is_what_the_statements_say((cluster, node) in any_cluster()) {
        // S2, S3, S4, S5, S6, S7, S8, S9, S10, S11, S12, S14, S15, S17, S19, S20, S22, S23, S24, S25, S26, S80
        let desired = resolve(&cluster, &node);
        let resolved: BTreeMap<_, _> = desired.frontends.iter().map(|(key, it)| (*key, resolved(it))).collect();
        prop_assert_eq!(resolved, expected(&cluster, &node));
    }

    #[test]
    fn what_is_used_serves_and_is_sorted_by_place((cluster, node) in any_cluster()) {
        // S57
        let desired = resolve(&cluster, &node);
        let place = |backend: &BackendRef| (backend.address, backend.port);
        for set in desired.serving.values() {
            prop_assert!(set.is_sorted_by_key(place));
        }
        for frontend in desired.frontends.values() {
            let serving = &desired.serving[&frontend.name];
            for backend in frontend.inside.iter().chain(frontend.outside.iter()) {
                prop_assert!(serving.contains(backend), "{backend:?} is used and does not serve");
            }
        }
    }
}
