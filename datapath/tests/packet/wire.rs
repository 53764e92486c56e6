//! At the driver: packets that go back out of the network's device, and all others, which pass.

use std::net::SocketAddr;

use fairway_common::conntrack::tcp;
use fairway_common::{Reason, TCP, UDP};
use fairway_datapath::table::backend_flags;

use crate::frame::{Body, Extra, Frame, source_port};
use crate::netns::{CLIENT, ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_WIRE, Row, row};
use crate::world::{World, each};

/// The verdict of a packet that was sent back.
const SENT: i32 = 7;

/// A connection of a client outside to another node's backend, seen in both directions.
struct Flow {
    client: SocketAddr,
    node_port: SocketAddr,
    node: SocketAddr,
    backend: SocketAddr,
}

impl Flow {
    /// Makes it, with what `from_network` sees of one.
    fn new(world: &mut World) -> Self {
        let (client, node_port, backend) = (world.client(4000), world.node(30080), world.remote(1, 8080));
        world.put(node_port, &[], &[backend], 0);
        let (_, out) = world.run(FROM_NETWORK, &world.frame(client, node_port).build());
        let node = world.node(source_port(&out));
        let flow = Self { client, node_port, node, backend };
        world.run(FROM_NETWORK, &flow.back(world).flags(tcp::SYN | tcp::ACK).build());
        flow
    }

    /// A packet of the client.
    fn there(&self, world: &World) -> Frame {
        world.frame(self.client, self.node_port).flags(tcp::ACK)
    }

    /// A packet of the backend.
    fn back(&self, world: &World) -> Frame {
        world.frame(self.backend, self.node).flags(tcp::ACK)
    }

    /// What the client's packet becomes.
    fn sent(&self, frame: &Frame) -> Frame {
        frame.clone().between(self.node, self.backend).hop([ETH0, NODE2])
    }

    /// What the backend's packet becomes.
    fn answered(&self, frame: &Frame) -> Frame {
        frame.clone().between(self.node_port, self.client).hop([ETH0, CLIENT])
    }

    /// Lets `from_network` see a packet of each direction, so that their ways are known for a while.
    fn refresh(&self, world: &mut World) {
        for frame in [self.there(world), self.back(world)] {
            world.run(FROM_NETWORK, &frame.build());
        }
    }

    /// Refreshes until a packet of the client is sent back: a way is known within one tick only.
    fn fresh(&self, world: &mut World) {
        let there = self.there(world).build();
        for _ in 0..10 {
            self.refresh(world);
            if world.run(FROM_WIRE, &there).0 == SENT {
                return;
            }
        }
        panic!("the client's packets always pass");
    }

    /// Runs a row when the ways are known.
    #[track_caller]
    fn row(&self, world: &mut World, row: Row) {
        self.fresh(world);
        world.row(row);
    }
}

// S29
#[test]
fn packets_of_a_known_connection_to_a_remote_backend_are_sent_back_at_the_driver() {
    each(|world| {
        let flow = Flow::new(world);
        let (there, back) = (flow.there(world), flow.back(world));
        flow.row(
            world,
            row("there", FROM_WIRE, &there).redirects(flow.sent(&there)).counts(Reason::Accelerated),
        );
        flow.row(
            world,
            row("back", FROM_WIRE, &back).redirects(flow.answered(&back)).counts(Reason::Accelerated),
        );
        let long = there.clone().payload(&[0x5a; 1399]);
        flow.row(
            world,
            row("an odd length", FROM_WIRE, &long).redirects(flow.sent(&long)).counts(Reason::Accelerated),
        );
    });
}

#[test]
fn a_udp_checksum_that_is_none_stays_none_at_the_driver() {
    each(|world| {
        if world.protocol != UDP || !world.v4 {
            return;
        }
        let flow = Flow::new(world);
        let bare = flow.there(world).body(Body::Udp { checksum: false });
        flow.row(
            world,
            row("bare", FROM_WIRE, &bare).redirects(flow.sent(&bare)).counts(Reason::Accelerated),
        );
    });
}

#[test]
fn what_is_not_plain_passes_the_driver_untouched() {
    each(|world| {
        let flow = Flow::new(world);
        let there = flow.there(world);
        let elsewhere = there.clone().link([CLIENT, NODE2]);
        let rows = [
            row("to another host", FROM_WIRE, elsewhere),
            row("at its end", FROM_WIRE, there.clone().ttl(1)),
            row("with options", FROM_WIRE, there.clone().extra(Extra::Options)),
            row("a fragment", FROM_WIRE, there.clone().extra(Extra::Fragment { offset: 0, more: true })),
            row("too long", FROM_WIRE, there.clone().payload(&[0; 1500])),
            row("another protocol", FROM_WIRE, there.clone().body(Body::Echo)),
            row("not a service", FROM_WIRE, world.frame(world.client(1), world.node(2)).flags(tcp::ACK)),
            row("for a pod", FROM_WIRE, world.frame(world.client(1), world.pod(1, 2))),
        ];
        for row in rows {
            flow.row(world, row);
        }
    });
}

#[test]
fn an_unfinished_checksum_passes_the_driver() {
    each(|world| {
        let flow = Flow::new(world);
        let there = flow.there(world);
        let mut packet = there.build();
        let (transport, length) = (there.transport(), packet.len());
        let addresses = if world.v4 { 26..34 } else { 22..54 };
        // What a stack leaves to its device: the sum over the pseudo header.
        let mut sum = u32::from(world.protocol) + (length - transport) as u32;
        for pair in packet[addresses].chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
        let place = transport + if world.protocol == TCP { 16 } else { 6 };
        packet[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        flow.row(world, crate::table::raw("unfinished", FROM_WIRE, packet));
    });
}

#[test]
fn what_would_change_a_connection_passes_the_driver() {
    each(|world| {
        if world.protocol != TCP {
            return;
        }
        let flow = Flow::new(world);
        let there = flow.there(world);
        for (name, flags) in [("syn", tcp::SYN), ("fin", tcp::FIN | tcp::ACK), ("rst", tcp::RST)] {
            flow.row(world, row(name, FROM_WIRE, there.clone().flags(flags)));
        }
        // Once `from_network` has noted it, it says nothing new.
        let fin = there.clone().flags(tcp::FIN | tcp::ACK);
        world.run(FROM_NETWORK, &fin.build());
        flow.row(
            world,
            row("fin again", FROM_WIRE, &fin).redirects(flow.sent(&fin)).counts(Reason::Accelerated),
        );
    });
}

// S54
#[test]
fn a_udp_flow_whose_backend_is_gone_passes_the_driver() {
    each(|world| {
        if world.protocol != UDP {
            return;
        }
        let flow = Flow::new(world);
        flow.fresh(world);
        world.set_backend(1, flow.backend, backend_flags::GONE);
        world.row(row("moves", FROM_WIRE, flow.there(world)));
    });
}

#[test]
fn a_new_connection_passes_the_driver_and_leaves_nothing() {
    each(|world| {
        let (node_port, backend) = (world.node(30080), world.remote(1, 8080));
        world.put(node_port, &[], &[backend], 0);
        world.row(row("new", FROM_WIRE, world.frame(world.client(400), node_port)));
        world.expect_tracked(&[]);
    });
}

#[test]
fn a_connection_to_a_pod_of_this_node_passes_the_driver() {
    each(|world| {
        let (client, node_port, backend) = (world.client(400), world.node(30080), world.pod(1, 8080));
        world.put(node_port, &[], &[backend], 0);
        let there = world.frame(client, node_port);
        for _ in 0..3 {
            world.run(FROM_NETWORK, &there.build());
            world.row(row("there", FROM_WIRE, there.clone().flags(tcp::ACK)));
        }
    });
}
