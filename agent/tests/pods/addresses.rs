//! Who has which address, and what does not agree.

use fairway_proto::node::ReleaseAddressRequest;

use crate::world::{Fake, World};
use crate::*;

async fn texts(pods: &Pods) -> Vec<String> {
    let differences = pods.differences().await.unwrap();
    differences.into_iter().map(|it| format!("{} {}: {}", it.address, it.name, it.text)).collect()
}

fn release(address: &str, force: bool) -> ReleaseAddressRequest {
    ReleaseAddressRequest { address: address.into(), force }
}

#[test]
fn ranges_and_addresses_are_listed_with_their_pods() {
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24", "fd99:1::/64"]).await;
        let web = pods.add(add(&world, "web")).await.unwrap();
        let listed = pods.addresses();
        let ranges: Vec<_> = listed.ranges.iter().map(|it| (it.cidr.as_str(), it.size, it.used)).collect();
        assert_eq!(ranges, [("10.99.1.0/24", 253, 1), ("fd99:1::/64", u64::MAX - 2, 1)]);
        let [v4, v6] = &listed.addresses[..] else { panic!("{listed:?}") };
        assert_eq!((v4.address.as_str(), v6.address.as_str()), ("10.99.1.2", "fd99:1::2"));
        assert_eq!((v4.name.as_str(), v4.container_id.as_str()), ("web", "container-web"));
        assert_eq!((&v4.interface, v4.state.as_str()), (&web.node_interface, "in-use"));
        assert!(v4.age_seconds.is_some_and(|age| age < 3600), "{v4:?}");
    });
}

#[test]
fn a_difference_between_the_list_of_pods_and_the_kernel_is_named() {
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24"]).await;
        let web = pods.add(add(&world, "web")).await.unwrap();
        assert!(texts(&pods).await.is_empty());

        let entry = fake.pods.lock().unwrap().remove(&addresses(&web)[0]).unwrap();
        assert_eq!(texts(&pods).await, ["10.99.1.2 web: the data path's entry is missing"]);
        let elsewhere = fairway_datapath::Pod { ifindex: 9999, ..entry };
        let stray = fairway_datapath::Pod { address: "10.99.1.77".parse().unwrap(), ..entry };
        fake.pods.lock().unwrap().extend([(entry.address, elsewhere), (stray.address, stray)]);
        let found = texts(&pods).await;
        assert!(found[0].contains("leads to another device"), "{found:?}");
        assert!(found[1].starts_with("10.99.1.77 : the data path has an entry"), "{found:?}");
        fake.pods.lock().unwrap().remove(&stray.address);
        fake.pods.lock().unwrap().insert(entry.address, entry);

        world.ip("node", "route del 10.99.1.2/32");
        assert_eq!(texts(&pods).await, ["10.99.1.2 web: the node's route is missing"]);
        world.ip("node", &format!("route add 10.99.1.2/32 dev {} proto 250", web.node_interface));
        world.ip("node", &format!("route add 10.99.1.88/32 dev {} proto 250", web.node_interface));
        world.ip("node", "link add fw0123456789ab type veth peer name other0");
        let found = texts(&pods).await;
        assert!(found[0].starts_with("10.99.1.88 : the node has a route"), "{found:?}");
        assert!(found[1].contains("`fw0123456789ab` is there"), "{found:?}");
        world.ip("node", &format!("link del {}", web.node_interface));
        let found = texts(&pods).await;
        assert!(found[0].contains("is missing") && found[0].contains(&web.node_interface), "{found:?}");
    });
}

#[test]
fn an_address_that_nobody_frees_can_be_released_and_one_in_use_only_by_force() {
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    for pod in ["web", "next"] {
        world.namespace(pod);
    }
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/30"]).await;
        pods.add(add(&world, "web")).await.unwrap();
        let refused = pods.release(release("10.99.1.2", false)).await.unwrap_err();
        assert!(refused.to_string().contains("`default/web`"), "{refused}");
        assert!(matches!(pods.release(release("10.99.1.9", true)).await, Err(Error::FreeAlready { .. })));
        assert!(matches!(pods.release(release("web", true)).await, Err(Error::Invalid { .. })));

        // Its sandbox went, and nobody said so.
        world.remove("web");
        // The kernel ends a namespace in its own time.
        assert!((0..1000).any(|_| node_devices(&world) == 0), "the device stays");
        let released = pods.release(release("10.99.1.2", false)).await.unwrap();
        assert_eq!(released.container_id, "container-web");
        pods.add(add(&world, "next")).await.expect("the only address is free again");
        pods.release(release("10.99.1.2", true)).await.unwrap();
        assert!(pods.list().is_empty() && texts(&pods).await.is_empty());
    });
    assert_eq!(node_devices(&world), 0);
}

#[test]
fn an_address_of_a_lost_state_can_be_released_by_force() {
    let (world, fake) = (World::new(), Fake::new());
    world.namespace("old");
    world.on_node(async || {
        let (lost, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        open(lost.path(), &fake, &["10.99.1.0/30"]).await.add(add(&world, "old")).await.unwrap();
        let pods = open(kept.path(), &fake, &["10.99.1.0/30"]).await;
        assert_eq!(pods.addresses().addresses[0].state, "unknown-pod");
        assert!(matches!(pods.release(release("10.99.1.2", false)).await, Err(Error::Alive { .. })));
        pods.release(release("10.99.1.2", true)).await.unwrap();
        assert!(pods.addresses().addresses.is_empty());
        pods.ready().await.unwrap();
    });
    assert_eq!(node_devices(&world), 0);
}

#[test]
fn an_address_whose_route_leads_through_a_living_pods_device_is_released_without_the_pod() {
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24"]).await;
        let web = pods.add(add(&world, "web")).await.unwrap();
        world.ip("node", &format!("route add 10.99.1.88/32 dev {} proto 250", web.node_interface));
        world.ip("node", "link add uplink0 type veth peer name other0");
        world.ip("node", "link set uplink0 up");
        world.ip("node", "route add 10.99.1.89/32 dev uplink0 proto 250");
        for address in ["10.99.1.88", "10.99.1.89"] {
            assert!(matches!(pods.release(release(address, false)).await, Err(Error::Alive { .. })));
            pods.release(release(address, true)).await.unwrap();
        }
        assert!(texts(&pods).await.is_empty());
        exchange(&world, "web", "node", addresses(&web)[0]);
        world.ip("node", "link show uplink0");
    });
}

#[test]
fn a_node_without_ranges_waits_for_them() {
    // S125
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &[]).await;
        let mut waits = std::pin::pin!(pods.have_ranges());
        assert!(futures::poll!(&mut waits).is_pending());
        pods.set_cidrs(vec!["10.99.1.0/24".parse().unwrap()]);
        waits.await;
        pods.ready().await.unwrap();
    });
}
