//! Packets from outside that go to their backend's node as they are.

use std::net::IpAddr;

use fairway_common::Reason::{Accelerated, Direct, FragmentTranslated, SourceTranslated};
use fairway_common::conntrack::{flags, tcp};
use fairway_common::service::Frontend;
use fairway_common::{TCP, UDP};
use fairway_datapath::Network;

use crate::fragments::pieces;
use crate::frame::Frame;
use crate::netns::{CLIENT, ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_WIRE, NAT_PORT, TO_NETWORK, row};
use crate::tracked::Track;
use crate::world::World;

/// What the agent writes for an address that every node has.
const EVERYWHERE: u32 = Frontend::HASHED | Frontend::DIRECT;

fn each(test: impl Fn(&mut World)) {
    let mut world = World::load_with(|options| options.direct = fairway_datapath::Direct::Link)
        .unwrap_or_else(|error| panic!("{error}"));
    for (v4, protocol) in [(true, TCP), (true, UDP), (false, TCP), (false, UDP)] {
        world.begin(v4, protocol);
        let node: IpAddr = if v4 { "192.168.50.2" } else { "fd00:50::2" }.parse().unwrap();
        world.datapath.set_networks(&[Network { range: node.into(), tunnel: None, node: true }]).unwrap();
        test(&mut world);
    }
}

/// The frame on its way to the other node.
fn sent(frame: &Frame) -> Frame {
    frame.clone().hop([ETH0, NODE2])
}

#[test]
fn a_packet_for_a_remote_backend_keeps_both_addresses_and_a_syn_leaves_nothing() {
    each(|world| {
        let (client, service, backend) = (world.client(4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[backend], EVERYWHERE);
        let first = world.frame(client, service);
        if world.protocol == TCP {
            let driver = row("first, at the driver", FROM_WIRE, &first);
            world.row(driver.redirects(sent(&first)).counts(Accelerated));
        } else {
            world.row(row("first, at the driver", FROM_WIRE, &first));
        }
        world.row(row("first", FROM_NETWORK, &first).redirects(sent(&first)).counts(Direct));
        let seen = flags::DIRECT | flags::DATA;
        let entry = Track { key: (client, service), to: (client, backend), flags: seen };
        assert_eq!(world.tracked(), if world.protocol == UDP { vec![entry] } else { vec![] });
        let next = world.frame(client, service).flags(tcp::ACK);
        world.row(row("next", FROM_NETWORK, &next).redirects(sent(&next)).counts(Direct));
        assert_eq!(world.tracked(), [entry]);
        world.row(row("at the driver", FROM_WIRE, &next).redirects(sent(&next)).counts(Accelerated));
    });
}

// S41
#[test]
fn a_direct_connection_keeps_its_backend_when_there_are_others() {
    each(|world| {
        if world.protocol != TCP {
            return;
        }
        let (client, service) = (world.client(4000), world.service(1));
        let (old, new) = (world.remote(1, 8080), world.pod(1, 8080));
        world.put(service, &[old], &[old], EVERYWHERE);
        let next = world.frame(client, service).flags(tcp::ACK);
        world.row(row("not known yet, at the driver", FROM_WIRE, &next));
        world.row(row("known", FROM_NETWORK, &next).redirects(sent(&next)).counts(Direct));
        let syn = world.frame(client, service);
        world.row(row("a SYN of a known connection, at the driver", FROM_WIRE, &syn));
        world.put(service, &[new], &[new], EVERYWHERE);
        world.row(row("still", FROM_NETWORK, &next).redirects(sent(&next)).counts(Direct));
        // S45: once it has ended, a SYN goes where the others go.
        let fin = next.clone().flags(tcp::FIN | tcp::ACK);
        world.row(row("ends", FROM_NETWORK, &fin).redirects(sent(&fin)).counts(Direct));
        let syn = world.frame(client, service);
        world.row(row("again, at the driver", FROM_WIRE, &syn));
        let (_, out) = world.run(FROM_NETWORK, &syn.build());
        assert_eq!(out[..6], World::to_pod(1)[1], "it is for the pod");
    });
}

#[test]
fn what_not_every_node_has_or_no_node_is_next_for_comes_from_this_node() {
    each(|world| {
        let (client, remote) = (world.client(4000), world.remote(1, 8080));
        // A node's own port.
        let node_port = world.node(30080);
        world.put(node_port, &[], &[remote], Frontend::HASHED);
        // A backend that is a host of the link, and no node.
        let (service, host) = (world.service(2), world.client(8080));
        world.put(service, &[], &[host], EVERYWHERE);
        let node = world.node(NAT_PORT);
        for (name, to, backend, link) in
            [("NodePort", node_port, remote, [ETH0, NODE2]), ("no node", service, host, [ETH0, CLIENT])]
        {
            let frame = world.frame(client, to);
            world.row(row(name, FROM_WIRE, &frame));
            world.row(
                row(name, FROM_NETWORK, &frame)
                    .redirects(frame.clone().between(node, backend).hop(link))
                    .counts(SourceTranslated),
            );
        }
    });
}

#[test]
fn a_connection_that_begins_passes_the_driver_where_its_packet_cannot_go_as_it_is() {
    each(|world| {
        if world.protocol != TCP {
            return;
        }
        let (client, service, backend) = (world.client(4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[backend], EVERYWHERE | Frontend::RANGES);
        let syn = world.frame(client, service);
        world.row(row("a client that is not let in", FROM_WIRE, &syn));
        world.put(service, &[backend], &[backend], EVERYWHERE | Frontend::INSIDE_ONLY);
        world.row(row("not for clients outside", FROM_WIRE, &syn));
        world.put(service, &[], &[], EVERYWHERE);
        world.row(row("no backend", FROM_WIRE, &syn));
        world.put(service, &[backend], &[world.pod(1, 8080)], EVERYWHERE);
        world.row(row("a backend here", FROM_WIRE, &syn));
        world.put(service, &[backend], &[world.unheard(8080)], EVERYWHERE);
        world.row(row("a host that does not answer yet", FROM_WIRE, &syn));
        world.put(service, &[backend], &[backend], EVERYWHERE);
        let elsewhere = syn.clone().link([CLIENT, NODE2]);
        for (name, frame) in [("to another host", elsewhere), ("at its end", syn.clone().ttl(1))] {
            world.row(row(name, FROM_WIRE, frame));
        }
        world.row(row("now it goes", FROM_WIRE, &syn).redirects(sent(&syn)).counts(Accelerated));
        world.expect_tracked(&[]);
    });
}

// S85
#[test]
fn fragments_of_a_direct_connection_go_the_way_of_their_first() {
    each(|world| {
        let (client, service, backend) = (world.client(4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[backend], EVERYWHERE);
        let next = world.frame(client, service).flags(tcp::ACK);
        world.run(FROM_NETWORK, &next.build());
        let known = world.tracked();
        for (name, piece) in ["first", "second", "last"].into_iter().zip(pieces(next)) {
            world.row(row(name, FROM_NETWORK, &piece).redirects(sent(&piece)).counts(Direct));
            // Where it leaves, and at the driver, it is left alone.
            let leaves = sent(&piece).build();
            assert_eq!(world.run(TO_NETWORK, &leaves), (-1, leaves), "{name}");
            world.row(row(name, FROM_WIRE, &piece));
        }
        assert_eq!(world.tracked(), known);
    });
}

// S85
#[test]
fn what_begins_with_a_fragment_comes_from_this_node() {
    each(|world| {
        let (client, service, backend) = (world.client(4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[backend], EVERYWHERE);
        let [first, later, _] = pieces(world.frame(client, service));
        let node = world.node(NAT_PORT);
        let out = first.clone().between(node, backend).hop([ETH0, NODE2]);
        world.row(row("first", FROM_NETWORK, &first).redirects(out).counts(SourceTranslated));
        let before = world.counted_of(FragmentTranslated);
        assert_eq!(world.run(FROM_NETWORK, &later.build()).0, 7, "later");
        assert_eq!(world.counted_of(FragmentTranslated), before + 1);
    });
}
