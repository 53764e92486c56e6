//! Packets in another's name.

use std::net::SocketAddr;

use fairway_common::Reason::{ServiceNew, SpoofedSource, Translated};
use fairway_common::UDP;
use fairway_common::conntrack::tcp;

use crate::frame::Body;
use crate::netns::{ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, TO_POD, row};
use crate::world::{World, each, each_family};

// S89
#[test]
fn a_pod_sends_from_its_own_address_only() {
    each(|world| {
        let (service, backend) = (world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let strangers =
            [world.client(400), world.remote(1, 400), world.node(400), world.pod(9, 400), service];
        let destinations = [service, backend, world.pod(2, 80), world.node(80)];
        for (from, to) in strangers.iter().flat_map(|from| destinations.map(|to| (*from, to))) {
            let frame = world.frame(from, to);
            world.row(row("a new connection", FROM_POD, &frame).drops(SpoofedSource));
            world.row(row("in the middle", FROM_POD, frame.flags(tcp::ACK)).drops(SpoofedSource));
        }
        world.expect_tracked(&[]);
    });
}

// S89
#[test]
fn another_pods_address_is_refused_on_a_connection_that_is_known() {
    each(|world| {
        let (service, backend) = (world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let frame = world.frame(world.pod(2, 400), service);
        world.row(
            row("its own", FROM_POD, &frame)
                .redirects(frame.clone().between(frame.source, backend).hop([ETH0, NODE2]))
                .counts(ServiceNew),
        );
        let bytes = frame.build();
        assert_eq!(world.run_at(FROM_POD, world.devices[1], &bytes).0, 2, "by another pod's device");
        world.row(
            row("its own again", FROM_POD, &frame)
                .redirects(frame.clone().between(frame.source, backend).hop([ETH0, NODE2]))
                .counts(Translated),
        );
    });
}

// S89: neighbours find each other from addresses that no pod was given.
#[test]
fn link_local_sources_stay_on_the_link() {
    each_family(UDP, |world| {
        if world.v4 {
            return;
        }
        let (service, backend) = (world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 5000);
        for source in [at("fe80::1:2"), at("::")] {
            for near in [at("ff02::1:ff00:1"), at("ff02::16"), at("fe80::1")] {
                for body in [Body::Echo, Body::Other(58), Body::Udp { checksum: true }] {
                    world.row(row("on the link", FROM_POD, world.frame(source, near).body(body)));
                }
            }
            for far in [service, backend, world.pod(2, 80)] {
                world.row(row("beyond it", FROM_POD, world.frame(source, far)).drops(SpoofedSource));
            }
        }
        world.expect_tracked(&[]);
    });
}

#[test]
fn sources_are_checked_where_pods_send_and_nowhere_else() {
    each(|world| {
        let frame = world.frame(world.remote(1, 400), world.pod(2, 80));
        world.rows([
            row("from the network", FROM_NETWORK, &frame).redirects(frame.clone().hop(World::to_pod(2))),
            row("to a pod", TO_POD, &frame),
        ]);
    });
}
