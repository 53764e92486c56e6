//! Packets from outside that go to their backend's node in a header of their own, and come out of it there.

use std::net::IpAddr;

use fairway_common::Reason::{Accelerated, Direct, ServiceNew, SourceTranslated, TooBig};
use fairway_common::conntrack::{flags, tcp};
use fairway_common::service::Frontend;
use fairway_common::{TCP, UDP};
use fairway_datapath::{Network, Tunnel};

use crate::frame::{ETHERNET, Frame, Mac};
use crate::netns::{CLIENT, ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_WIRE};
use crate::tracked::Track;
use crate::world::World;

const EVERYWHERE: u32 = Frontend::HASHED | Frontend::DIRECT;
const PASS: i32 = -1;
const SENT: i32 = 7;
/// What fits the node's device.
const MTU: usize = 1500;

/// A node behind a router, whose link address is [`NODE2`].
fn node(world: &World) -> IpAddr {
    world.remote(200, 0).ip()
}

/// The node, and the pods that it has.
fn networks(world: &World, node: IpAddr) -> [Network; 2] {
    let pods = ipnet::IpNet::new(world.remote(0, 0).ip(), if world.v4 { 24 } else { 64 }).unwrap().trunc();
    let tunnel = Some(Tunnel { node, mtu: 0 });
    [Network { range: pods, tunnel, node: false }, Network { range: node.into(), tunnel, node: true }]
}

fn each(test: impl Fn(&mut World)) {
    let mut world = World::load_with(|options| options.direct = fairway_datapath::Direct::Enclosed)
        .unwrap_or_else(|error| panic!("{error}"));
    for (v4, protocol) in [(true, TCP), (true, UDP), (false, TCP), (false, UDP)] {
        world.begin(v4, protocol);
        let networks = networks(&world, node(&world));
        world.datapath.set_networks(&networks).unwrap();
        test(&mut world);
    }
}

fn header(world: &World) -> usize {
    if world.v4 { 20 } else { 40 }
}

/// A frame with a header between two nodes around it.
fn around(frame: &Frame, from: IpAddr, to: IpAddr, link: [Mac; 2]) -> Vec<u8> {
    let inside = frame.build();
    let (kind, packet) = (&inside[12..ETHERNET], &inside[ETHERNET..]);
    let length = packet.len() as u16;
    let mut header = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([0x45, 0]);
            header.extend((length + 20).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, 4, 0, 0]);
            header.extend(from.octets().into_iter().chain(to.octets()));
            let sum: u32 =
                header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            let check = !((sum & 0xffff) + (sum >> 16)) as u16;
            header[10..12].copy_from_slice(&check.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.extend([0x60, 0, 0, 0]);
            header.extend(length.to_be_bytes());
            header.extend([41, 64]);
            header.extend(from.octets().into_iter().chain(to.octets()));
        }
        _ => panic!("two families"),
    }
    [&link[1], &link[0], kind, &header[..], packet].concat()
}

/// What leaves for the node when the frame is what came from a client.
fn sent(world: &World, frame: &Frame, link: [Mac; 2]) -> Vec<u8> {
    around(&frame.clone().hop(link), world.node(0).ip(), node(world), link)
}

#[test]
fn a_packet_for_a_remote_backend_gets_a_header_and_a_syn_leaves_nothing() {
    each(|world| {
        let (client, service, backend) = (world.client(4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[backend], EVERYWHERE);
        let (first, next) = (world.frame(client, service), world.frame(client, service).flags(tcp::ACK));
        let entry =
            Track { key: (client, service), to: (client, backend), flags: flags::DIRECT | flags::DATA };
        if world.protocol == TCP {
            let before = world.counted_of(Accelerated);
            let wanted = sent(world, &first, [ETH0, NODE2]);
            assert_eq!(world.run(FROM_WIRE, &first.build()), (SENT, wanted), "at the driver");
            assert_eq!(world.counted_of(Accelerated), before + 1);
        }
        for (what, frame, hook, reason) in [
            ("first", &first, FROM_NETWORK, Direct),
            ("next", &next, FROM_NETWORK, Direct),
            ("known", &next, FROM_NETWORK, Direct),
            ("at the driver", &next, FROM_WIRE, Accelerated),
        ] {
            let before = world.counted_of(reason);
            let wanted = sent(world, frame, [ETH0, NODE2]);
            assert_eq!(world.run(hook, &frame.build()), (SENT, wanted), "{what}");
            assert_eq!(world.counted_of(reason), before + 1, "{what}");
            let noted = what != "first" || world.protocol == UDP;
            assert_eq!(world.tracked(), if noted { vec![entry] } else { vec![] }, "{what}");
        }
    });
}

#[test]
fn a_node_whose_link_address_is_not_known_yet_is_asked_for_with_the_header() {
    each(|world| {
        let (client, service, backend) = (world.client(4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[backend], EVERYWHERE);
        let silent = world.unheard(0).ip();
        let networks = networks(world, silent);
        world.datapath.set_networks(&networks).unwrap();
        let frame = world.frame(client, service);
        assert_eq!(world.run(FROM_WIRE, &frame.build()), (PASS, frame.build()), "at the driver");
        let wanted = around(&frame.clone().hop([[0; 6]; 2]), world.node(0).ip(), silent, [[0; 6]; 2]);
        assert_eq!(world.run(FROM_NETWORK, &frame.build()), (SENT, wanted));
    });
}

#[test]
fn the_backends_node_takes_the_header_off_and_goes_on_as_with_any_packet() {
    each(|world| {
        let (client, service, backend) = (world.client(4000), world.service(1), world.pod(1, 8080));
        world.put(service, &[backend], &[backend], EVERYWHERE);
        let frame = world.frame(client, service);
        let plain = world.run(FROM_NETWORK, &frame.build());
        world.forget();
        let before = world.counted_of(ServiceNew);
        let link = [NODE2, ETH0];
        let arrives = around(&frame, node(world), world.node(0).ip(), link);
        assert_eq!(world.run(FROM_WIRE, &arrives), (PASS, arrives.clone()), "at the driver");
        let (verdict, mut out) = world.run(FROM_NETWORK, &arrives);
        assert_eq!((verdict, world.counted_of(ServiceNew)), (SENT, before + 1));
        out.truncate(plain.1.len());
        assert_eq!((verdict, out), plain);
        // What the pod sees is one hop older, and no other.
        let next = frame.clone().flags(tcp::ACK);
        let arrives = around(&next, node(world), world.node(0).ip(), link);
        let (verdict, out) = world.run(FROM_NETWORK, &arrives);
        assert_eq!((verdict, &out[..6]), (SENT, &World::to_pod(1)[1][..]));
    });
}

#[test]
fn a_header_of_no_known_node_stays_where_it_is() {
    each(|world| {
        let (client, service, backend) = (world.client(4000), world.service(1), world.pod(1, 8080));
        world.put(service, &[backend], &[backend], EVERYWHERE);
        let (frame, here, link) = (world.frame(client, service), world.node(0).ip(), [NODE2, ETH0]);
        let mut fragment = around(&frame, node(world), here, link);
        fragment[20] |= 0x20;
        let mut other = around(&frame, node(world), here, link);
        other[ETHERNET + header(world)] = 0x10;
        let rows = [
            ("of a client", around(&frame, client.ip(), here, link)),
            ("of a node's pod", around(&frame, world.remote(1, 0).ip(), here, link)),
            ("for another host", around(&frame, node(world), here, [NODE2, CLIENT])),
            ("with something else inside", other),
        ];
        // IPv6 says so by another header.
        let cut = world.v4.then_some(("in fragments", fragment));
        for (name, packet) in rows.into_iter().chain(cut) {
            if name == "for another host" {
                assert_eq!(world.run(FROM_WIRE, &packet), (PASS, packet), "{name}");
            } else {
                assert_eq!(world.run(FROM_NETWORK, &packet), (PASS, packet), "{name}");
            }
        }
        world.expect_tracked(&[]);
    });
}

#[test]
fn what_is_too_long_with_the_header_is_answered_or_goes_with_this_nodes_address() {
    each(|world| {
        let (client, service, backend) = (world.client(4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[backend], EVERYWHERE);
        let next = world.frame(client, service).flags(tcp::ACK);
        let bare = next.build().len() - ETHERNET;
        let room = MTU - header(world) - bare;
        let long = next.clone().payload(&vec![0x5a; room + next.payload.len()]);
        let wanted = sent(world, &long, [ETH0, NODE2]);
        assert_eq!(world.run(FROM_NETWORK, &long.build()), (SENT, wanted), "it just fits");
        let longer = next.clone().payload(&vec![0x5a; room + next.payload.len() + 1]);
        for what in ["known", "not known"] {
            let before = world.counted_of(TooBig);
            let (verdict, out) = world.run(FROM_NETWORK, &longer.build());
            assert_eq!((verdict, world.counted_of(TooBig)), (SENT, before + 1), "{what}");
            let says = ETHERNET + header(world) + 4;
            let mtu = u32::from_be_bytes(out[says..says + 4].try_into().unwrap());
            assert_eq!(mtu as usize, MTU - header(world), "{what}: what its sender is told");
            world.forget();
        }
        if world.v4 {
            let before = world.counted_of(SourceTranslated);
            world.run(FROM_NETWORK, &longer.clone().may_be_cut().build());
            assert_eq!(world.counted_of(SourceTranslated), before + 1, "it may be cut");
        }
    });
}

#[test]
fn backends_of_no_known_node_get_packets_from_this_node() {
    each(|world| {
        let (client, service, backend) = (world.client(4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[backend], EVERYWHERE);
        let networks = networks(world, node(world)).map(|network| Network { tunnel: None, ..network });
        world.datapath.set_networks(&networks).unwrap();
        let frame = world.frame(client, service);
        assert_eq!(world.run(FROM_WIRE, &frame.build()), (PASS, frame.build()), "at the driver");
        let before = world.counted_of(SourceTranslated);
        world.run(FROM_NETWORK, &frame.build());
        assert_eq!(world.counted_of(SourceTranslated), before + 1);
    });
}
