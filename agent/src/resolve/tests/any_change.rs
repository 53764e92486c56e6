//! Any sequence of changes, taken one by one, leads where the last state leads from nothing.

use std::time::{Duration, Instant};

use fairway_datapath::table::Image;
use fairway_proto::model::ResourceKey;
use proptest::prelude::*;
use proptest::sample::select;

use super::host_ports::port;
use super::oracle::{any_service, any_slice};
use super::*;
use crate::reconcile::{Limits, Reconciler};

/// Enough that the maps have several nodes, some of which stay as they are.
const SERVICES: u8 = 50;

#[derive(Clone, Debug)]
enum Change {
    Insert(Resource),
    Remove(ResourceKey),
    /// This node, or its rule; its pods stay.
    Node(LocalNode),
    /// A pod's ports of this node; none: it is gone.
    Pod(ObjectName, Vec<HostPort>),
}

fn some_service() -> impl Strategy<Value = Service> {
    (0..SERVICES).prop_flat_map(any_service)
}

/// Slices of the first Services have many changes of hands, those of the others keep to one.
fn some_slice() -> impl Strategy<Value = EndpointSlice> {
    prop_oneof![
        (0..4_u8).prop_flat_map(any_slice),
        (0..SERVICES).prop_flat_map(|number| any_slice(number).prop_map(move |mut slice| {
            slice.service = ObjectName::new("default", format!("s{number}"));
            slice
        })),
    ]
}

fn some_node() -> impl Strategy<Value = Node> {
    let addresses = prop::sample::subsequence(vec![PEER_IP, "192.168.0.3", "fd00:1::3", NODE_IP], 0..=3);
    (select(vec!["b", "c"]), addresses).prop_map(|(name, addresses)| Node {
        name: name.into(),
        addresses: addresses.into_iter().map(ip).collect(),
        pod_cidrs: vec![],
        zone: None,
        object: None,
    })
}

fn local_node() -> impl Strategy<Value = LocalNode> {
    let rules = vec![NodePortAddresses::All, NodePortAddresses::Primary];
    (any::<bool>(), select(rules), select(vec!["z1", "z2"])).prop_map(|(six, rule, zone)| {
        let mut node = LocalNode { zone: Some(zone.into()), node_port_addresses: rule, ..node() };
        node.addresses.extend(six.then(|| ip("fd00:1::1")));
        node
    })
}

/// Pods have names that Services have, and ports that meet those of other pods and of Services.
fn some_pod() -> impl Strategy<Value = Change> {
    let places =
        vec!["tcp 30000:80", "tcp 30001@192.168.0.1:80", "udp 30000@fd00:1::1:53", "tcp 8080@127.0.0.1:80"];
    let address = select(vec!["10.244.1.2", "10.244.1.3"]);
    (0..4_u8, prop::sample::subsequence(places, 0..=4), address).prop_map(|(number, places, address)| {
        let ports = places.iter().map(|place| port(place, &[address, "fd00:10::2"])).collect();
        Change::Pod(ObjectName::new("default", format!("s{number}")), ports)
    })
}

fn change() -> impl Strategy<Value = Change> {
    let name = |kind: char, number: u8| ObjectName::new("default", format!("{kind}{number}"));
    prop_oneof![
        4 => some_service().prop_map(|it| Change::Insert(Resource::Service(it))),
        8 => some_slice().prop_map(|it| Change::Insert(Resource::EndpointSlice(it))),
        1 => some_node().prop_map(|it| Change::Insert(Resource::Node(it))),
        2 => (0..SERVICES).prop_map(move |it| Change::Remove(ResourceKey::Service(name('s', it)))),
        2 => (0..SERVICES).prop_map(move |it| Change::Remove(ResourceKey::EndpointSlice(name('e', it)))),
        1 => select(vec!["b", "c"]).prop_map(|it| Change::Remove(ResourceKey::Node(it.into()))),
        1 => local_node().prop_map(Change::Node),
        2 => some_pod(),
    ]
}

fn begin() -> impl Strategy<Value = Cluster> {
    let services: Vec<_> =
        (0..SERVICES).map(|number| prop::option::weighted(0.8, any_service(number))).collect();
    let slices: Vec<_> = (0..SERVICES).map(|number| prop::option::weighted(0.8, any_slice(number))).collect();
    (services, slices).prop_map(|(services, slices)| {
        cluster(services.into_iter().flatten().collect(), slices.into_iter().flatten().collect())
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let small = Limits { frontends: 70, slots: 120, backends: 90, ranges: 10, grace: Duration::from_secs(1) };
    select(vec![Limits::default(), small])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_leads_where_its_last_state_leads_from_nothing(
        mut cluster in begin(), limits in limits(),
        steps in prop::collection::vec((prop::collection::vec(change(), 0..4), 0..1500_u64), 1..10)
    ) {
        // S101
        let (mut node, mut now) = (node(), Instant::now());
        let mut resolver = Resolver::default();
        let mut quick = Reconciler::load(Image::default(), limits, now, true);
        let mut slow = Reconciler::load(Image::default(), limits, now, true);
        for (changes, milliseconds) in steps {
            for change in changes {
                match change {
                    Change::Insert(resource) => cluster.insert(resource),
                    Change::Remove(key) => cluster.remove(&key),
                    Change::Node(other) => node = LocalNode { host_ports: node.host_ports, ..other },
                    Change::Pod(name, ports) if ports.is_empty() => drop(node.host_ports.remove(&name)),
                    Change::Pod(name, ports) => drop(node.host_ports.insert(name, ports.into())),
                }
            }
            let desired = resolver.resolve(&cluster, &node);
            prop_assert_eq!(&desired, &resolve(&cluster, &node));

            slow.look_at_everything();
            let (one, other) = (quick.plan(&desired, now), slow.plan(&desired, now));
            prop_assert_eq!(one.ops, other.ops);
            prop_assert_eq!((one.shortages, one.again_at), (other.shortages, other.again_at));
            prop_assert!(one.looked_at <= other.looked_at);
            quick.applied(now);
            slow.applied(now);
            prop_assert_eq!(quick.usage(), slow.usage());
            prop_assert_eq!(quick.service_ids(), slow.service_ids());
            prop_assert_eq!(quick.backend_ids(), slow.backend_ids());
            now += Duration::from_millis(milliseconds);
        }
    }
}

#[test]
fn a_change_is_resolved_with_the_services_that_it_concerns_alone() {
    // S101
    let mut services = vec![service("db", "10.96.0.11"), web()];
    services[0].external_ips.clear();
    let mut cluster = cluster(services, vec![slice("one", 8080, vec![endpoint("10.0.0.1", "a", "ready")])]);
    let mut resolver = Resolver::default();
    let mut resolved = |cluster: &Cluster, node: &LocalNode| {
        resolver.resolve(cluster, node);
        resolver.resolved()
    };
    assert_eq!(resolved(&cluster, &node()), 2);
    assert_eq!(resolved(&cluster, &node()), 0);
    cluster.insert(Resource::EndpointSlice(slice("one", 9090, vec![])));
    assert_eq!(resolved(&cluster, &node()), 1);
    // It comes again as it was.
    cluster.insert(Resource::EndpointSlice(slice("one", 9090, vec![])));
    assert_eq!(resolved(&cluster, &node()), 0);
    // Where NodePorts are concerns everybody, what else a node says nobody.
    let mut peer = (*cluster.nodes["b"]).clone();
    peer.pod_cidrs.push("10.9.0.0/16".parse().unwrap());
    cluster.insert(Resource::Node(peer.clone()));
    assert_eq!(resolved(&cluster, &node()), 0);
    peer.addresses.push(ip("192.168.0.9"));
    cluster.insert(Resource::Node(peer));
    assert_eq!(resolved(&cluster, &node()), 2);
    assert_eq!(resolved(&cluster, &LocalNode { zone: None, ..node() }), 2);
}
