//! Source ports of connections that the node sends on, when there are few.

use std::collections::BTreeSet;

use fairway_common::Reason::SourcePortsExhausted;
use fairway_common::conntrack::tcp;
use fairway_common::limits;
use fairway_common::{TCP, UDP};

use crate::frame::source_port;
use crate::netns::{CLIENT, ETH0};
use crate::table::{FROM_NETWORK, row};
use crate::world::World;

const PORTS: (u16, u16) = (40_000, 40_003);

// S50
#[test]
fn colliding_source_ports_are_resolved_until_there_is_none_left() {
    let mut world = World::load(PORTS, false).unwrap_or_else(|error| panic!("{error}"));
    for (v4, protocol) in [(true, TCP), (true, UDP), (false, TCP), (false, UDP)] {
        world.begin(v4, protocol);
        let (node_port, backend) = (world.node(30080), world.remote(1, 8080));
        world.put(node_port, &[], &[backend], 0);
        let mut used = BTreeSet::new();
        for client in 400..404 {
            let frame = world.frame(world.client(client), node_port).build();
            // A try looks at some random ports: like a client, send again.
            let sent = (0..100).map(|_| world.run(FROM_NETWORK, &frame)).find(|(verdict, _)| *verdict == 7);
            let (_, out) = sent.expect("a free port is found");
            assert!(used.insert(source_port(&out)), "two connections have one source port");
        }
        assert_eq!(used, (PORTS.0..=PORTS.1).collect());
        let late = world.frame(world.client(404), node_port);
        world.row(row("no port is left", FROM_NETWORK, &late).drops(SourcePortsExhausted));
        assert_eq!(world.tracked().len(), 8);

        for port in used {
            let back = world.frame(backend, world.node(port));
            let (verdict, out) = world.run(FROM_NETWORK, &back.build());
            assert_eq!(verdict, 7);
            let track = world.tracked().into_iter().find(|track| track.to.0.port() == port).unwrap();
            let client = track.key.0;
            let wanted = back.between(node_port, client).hop([ETH0, CLIENT]);
            assert_eq!(wanted.differs(&out), None);
        }
    }
}

// S46, S48: late segments of a closed connection still translate, and a reset may be spurious.
#[test]
fn the_source_port_of_a_closed_connection_is_given_again_after_a_rest() {
    let mut world = World::load((40_000, 40_000), false).unwrap_or_else(|error| panic!("{error}"));
    for v4 in [true, false] {
        world.begin(v4, TCP);
        let (node_port, backend) = (world.node(30080), world.remote(1, 8080));
        world.put(node_port, &[], &[backend], 0);
        let (one, two) = (world.client(400), world.client(401));
        let frame = world.frame(one, node_port);
        assert_eq!(world.run(FROM_NETWORK, &frame.build()).0, 7);
        world.row(row("in use", FROM_NETWORK, world.frame(two, node_port)).drops(SourcePortsExhausted));
        for frame in [world.frame(one, node_port), world.frame(backend, world.node(40_000))] {
            assert_eq!(world.run(FROM_NETWORK, &frame.flags(tcp::FIN | tcp::ACK).build()).0, 7);
        }
        world.row(
            row("closed just now", FROM_NETWORK, world.frame(two, node_port)).drops(SourcePortsExhausted),
        );
        world.rest(limits::LINGER + 1);
        assert_eq!(world.run(FROM_NETWORK, &world.frame(two, node_port).build()).0, 7);
        let back = world.frame(backend, world.node(40_000));
        let (_, out) = world.run(FROM_NETWORK, &back.build());
        let wanted = back.between(node_port, two).hop([ETH0, CLIENT]);
        assert_eq!(wanted.differs(&out), None);
    }
}

// S78
#[test]
fn a_port_that_a_process_of_the_node_listens_on_is_not_taken() {
    let mut world = World::load((40_010, 40_011), false).unwrap_or_else(|error| panic!("{error}"));
    // This thread is in the node's namespace by now.
    let any = std::net::Ipv6Addr::UNSPECIFIED;
    let _tcp = std::net::TcpListener::bind((any, 40_010)).unwrap();
    let _udp = std::net::UdpSocket::bind((any, 40_010)).unwrap();
    for (v4, protocol) in [(true, TCP), (true, UDP), (false, TCP), (false, UDP)] {
        for client in 400..410 {
            world.begin(v4, protocol);
            let (node_port, backend) = (world.node(30080), world.remote(1, 8080));
            world.put(node_port, &[], &[backend], 0);
            let frame = world.frame(world.client(client), node_port).build();
            let sent = (0..100).map(|_| world.run(FROM_NETWORK, &frame)).find(|(verdict, _)| *verdict == 7);
            assert_eq!(source_port(&sent.expect("the other port is free").1), 40_011);
        }
    }
}
