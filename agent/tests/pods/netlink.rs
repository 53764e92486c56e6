//! The kernel's network configuration, read and changed in a namespace.

use std::net::IpAddr;
use std::time::Duration;

use fairway_agent::netlink::{Netlink, Via};
use ipnet::IpNet;

use crate::world::World;

fn route(destination: &str, via: &str) -> (IpNet, Via) {
    (destination.parse().unwrap(), Via::Gateway(via.parse().unwrap()))
}

fn own_routes(world: &World) -> Vec<String> {
    let text = world.ip("node", "-4 route show proto 250") + &world.ip("node", "-6 route show proto 250");
    let first_words = |line: &str| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    text.lines().map(first_words).collect()
}

fn with_uplink() -> World {
    let world = World::new();
    world.ip("node", "link add up0 type veth peer name far0");
    for device in ["up0", "far0"] {
        world.ip("node", &format!("link set {device} up"));
    }
    world.ip("node", "address add 198.51.100.1/24 dev up0");
    world.ip("node", "address add 2001:db8:5::1/64 dev up0 nodad");
    world
}

#[test]
fn only_our_own_routes_are_made_changed_and_removed() {
    let world = with_uplink();
    world.ip("node", "route add 10.50.0.0/24 via 198.51.100.9");
    world.on_node(async || {
        let netlink = Netlink::connect().unwrap();
        let two = [route("10.2.0.0/24", "198.51.100.2"), route("fd02::/64", "2001:db8:5::2")];
        assert!(netlink.sync_routes(&two).await.unwrap().is_empty());
        assert_eq!(own_routes(&world), ["10.2.0.0/24 via 198.51.100.2", "fd02::/64 via 2001:db8:5::2"]);

        let moved = [route("10.2.0.0/24", "198.51.100.3"), route("fd02::/64", "2001:db8:5::3")];
        assert!(netlink.sync_routes(&moved).await.unwrap().is_empty());
        assert!(netlink.sync_routes(&moved).await.unwrap().is_empty());
        assert_eq!(own_routes(&world), ["10.2.0.0/24 via 198.51.100.3", "fd02::/64 via 2001:db8:5::3"]);

        assert!(netlink.sync_routes(&[]).await.unwrap().is_empty());
        assert!(own_routes(&world).is_empty());
    });
    assert!(world.ip("node", "route show").contains("10.50.0.0/24 via 198.51.100.9"));
}

#[test]
fn ipv4_pods_are_reached_over_an_ipv6_network() {
    let world = with_uplink();
    world.on_node(async || {
        let netlink = Netlink::connect().unwrap();
        for via in ["2001:db8:5::2", "2001:db8:5::3", "198.51.100.3"] {
            assert!(netlink.sync_routes(&[route("10.3.0.0/24", via)]).await.unwrap().is_empty());
            let routes = world.ip("node", "route show proto 250");
            assert!(routes.contains(&format!(" {via} ")) && routes.lines().count() == 1, "{routes}");
        }
        assert!(netlink.sync_routes(&[]).await.unwrap().is_empty());
        assert!(own_routes(&world).is_empty());
    });
}

#[test]
fn a_route_that_fails_is_named_and_the_rest_is_set() {
    let world = with_uplink();
    world.ip("node", "route add 10.50.0.0/24 via 198.51.100.9");
    world.on_node(async || {
        let desired = [
            route("10.1.0.0/24", "203.0.113.1"),
            route("10.2.0.0/24", "198.51.100.2"),
            route("10.50.0.0/24", "198.51.100.2"),
            route("fd03::/64", "198.51.100.2"),
        ];
        let failures = Netlink::connect().unwrap().sync_routes(&desired).await.unwrap();
        let named: Vec<String> = failures.iter().map(|failure| failure.destination.to_string()).collect();
        assert_eq!(named, ["10.1.0.0/24", "10.50.0.0/24", "fd03::/64"]);
    });
    assert_eq!(own_routes(&world), ["10.2.0.0/24 via 198.51.100.2"]);
}

#[test]
fn addresses_and_default_routes_are_found_and_their_changes_told() {
    let world = with_uplink();
    world.on_node(async || {
        let netlink = Netlink::connect().unwrap();
        assert!(netlink.default_route_links().await.unwrap().is_empty());
        world.ip("node", "-6 route add default via 2001:db8:5::9");
        let links = netlink.default_route_links().await.unwrap();
        assert_eq!(links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["up0"]);
        assert_eq!(netlink.link("up0").await.unwrap(), netlink.link_by_index(links[0].index).await.unwrap());
        assert_eq!(netlink.link("missing").await.unwrap(), None);
        assert_eq!(netlink.link_by_index(9999).await.unwrap(), None);

        let interfaces = ["up0".to_owned(), "missing".to_owned()];
        let before: Vec<IpAddr> = vec!["198.51.100.1".parse().unwrap(), "2001:db8:5::1".parse().unwrap()];
        assert_eq!(netlink.addresses(&interfaces).await.unwrap(), before);
        let mut changes = netlink.watch().unwrap();
        world.ip("node", "address add 198.51.100.7/24 dev up0");
        tokio::time::timeout(Duration::from_secs(5), changes.changed()).await.expect("in time").unwrap();
        assert!(netlink.addresses(&interfaces).await.unwrap().contains(&"198.51.100.7".parse().unwrap()));
    });
}

// S30
#[test]
fn link_local_addresses_are_none_of_the_nodes_even_where_they_come_first() {
    let world = World::new();
    world.ip("node", "link add up0 type veth peer name far0");
    for device in ["up0", "far0"] {
        world.ip("node", &format!("link set {device} up"));
    }
    for address in ["169.254.9.9/16", "fe80::9/64 nodad", "198.51.100.1/24", "2001:db8:5::1/64 nodad"] {
        let (address, nodad) = address.split_once(' ').unwrap_or((address, ""));
        world.ip("node", format!("address add {address} dev up0 {nodad}").trim());
    }
    world.on_node(async || {
        let netlink = Netlink::connect().unwrap();
        let wanted: Vec<IpAddr> = vec!["198.51.100.1".parse().unwrap(), "2001:db8:5::1".parse().unwrap()];
        assert_eq!(netlink.addresses(&["up0".to_owned()]).await.unwrap(), wanted);
    });
}
