//! Beyond the node: tunnels to other nodes, and the world, which sees nodes alone.

use std::net::{IpAddr, SocketAddr};

use fairway_common::Reason::{
    ForeignTunnel, Masqueraded, ReplyTranslated, SourceTranslated, TooBig, Translated, TtlExceeded,
    UnallocatedAddress, UnsupportedProtocol,
};
use fairway_common::conntrack::tcp;
use fairway_common::network::{SENDER_MAC, TUNNEL_MAC};
use fairway_common::{TCP, UDP};
use fairway_datapath::{Network, Tunnel, TunnelDevice};

use crate::errors::answer;
use crate::frame::{Body, Frame, source_port};
use crate::netns::{CLIENT, ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, FROM_TUNNEL, NAT_PORT, TO_NETWORK, TO_TUNNEL, row};
use crate::world::World;

const INTO_TUNNEL: [[u8; 6]; 2] = [SENDER_MAC, TUNNEL_MAC];
const TUNNEL_PORT: u16 = 4789;
/// What fits into the tunnel.
const FITS: u16 = 600;

fn load(change: impl FnOnce(&mut fairway_datapath::Options)) -> World {
    World::load_with(change).unwrap_or_else(|error| panic!("{error}"))
}

fn each(world: &mut World, networks: impl Fn(&World) -> Vec<Network>, test: impl Fn(&mut World)) {
    for (v4, protocol) in [(true, TCP), (true, UDP), (false, TCP), (false, UDP)] {
        world.begin(v4, protocol);
        let networks = networks(world);
        world.datapath.set_networks(&networks).unwrap();
        test(world);
    }
}

/// The other node itself.
fn other(world: &World, port: u16) -> SocketAddr {
    let node: IpAddr = if world.v4 { "192.168.50.2" } else { "fd00:50::2" }.parse().unwrap();
    (node, port).into()
}

/// The other node and its pods, by tunnel or by route.
fn other_node(world: &World, tunnel: Option<Tunnel>) -> Vec<Network> {
    let prefix = if world.v4 { 24 } else { 64 };
    let range = ipnet::IpNet::new(world.remote(0, 0).ip(), prefix).unwrap().trunc();
    let node = other(world, 0).ip();
    vec![Network { range, tunnel, node: false }, Network { range: node.into(), tunnel, node: true }]
}

#[test]
fn a_pods_connection_to_the_world_takes_the_nodes_address_and_its_answers_come_back() {
    let mut world = load(|options| options.masquerade = (true, true));
    each(
        &mut world,
        |world| other_node(world, None),
        |world| {
            let (pod, client) = (world.pod(1, 400), world.client(80));
            let there = world.frame(pod, client);
            let begun = row("where it leaves", TO_NETWORK, &there)
                .passes_as(there.clone().between(world.node(NAT_PORT), client))
                .counts(Masqueraded);
            let out = world.row(begun);
            let seen = world.node(source_port(&out));
            let back = world.frame(client, seen).flags(tcp::SYN | tcp::ACK);
            world.rows([
                row("from then on", FROM_POD, &there)
                    .redirects(there.clone().between(seen, client).hop([ETH0, CLIENT]))
                    .counts(Translated),
                row("back", FROM_NETWORK, &back)
                    .redirects(back.clone().between(client, pod).hop(World::to_pod(1)))
                    .counts(ReplyTranslated),
            ]);
        },
    );
}

#[test]
fn what_is_known_sees_the_pod_and_so_does_who_asked_it() {
    let mut world = load(|options| options.masquerade = (true, true));
    let known = |world: &World| {
        let excluded = Network { range: world.client(0).ip().into(), tunnel: None, node: false };
        other_node(world, None).into_iter().chain([excluded]).collect()
    };
    each(&mut world, known, |world| {
        for to in [world.remote(1, 8080), world.client(80)] {
            world.row(row("known", TO_NETWORK, world.frame(world.pod(1, 400), to)));
        }
        let from_node = world.frame(world.node(400), world.unheard(80));
        world.row(row("of the node itself", TO_NETWORK, from_node));
        if world.protocol == TCP {
            let answer = world.frame(world.pod(1, 80), world.unheard(400)).flags(tcp::SYN | tcp::ACK);
            world.row(row("an answer", TO_NETWORK, answer));
        }
        world.expect_tracked(&[]);
    });
}

#[test]
fn a_ping_takes_the_nodes_address_and_its_answer_finds_the_pod() {
    let mut world = load(|options| options.masquerade = (true, true));
    for v4 in [true, false] {
        world.begin(v4, UDP);
        world.datapath.set_networks(&[]).unwrap();
        let (pod, client) = (world.pod(1, 7), world.client(0));
        let there = world.frame(pod, client).body(Body::Echo);
        let (verdict, out) = world.run(TO_NETWORK, &there.build());
        let at = there.transport() + 4;
        let seen = world.node(u16::from_be_bytes([out[at], out[at + 1]]));
        assert_eq!((verdict, there.clone().between(seen, client).differs(&out)), (-1, None));
        let back = world.frame(client, seen).body(Body::EchoReply);
        let wanted = back.clone().between(client, pod);
        world.row(
            row("its answer", FROM_NETWORK, &back)
                .redirects(wanted.hop(World::to_pod(1)))
                .counts(ReplyTranslated),
        );
        let other = world.frame(pod, client).body(Body::Other(47));
        world.row(row("another protocol", TO_NETWORK, other).drops(UnsupportedProtocol));
    }
}

// S84
#[test]
fn what_is_masqueraded_and_at_the_end_of_its_time_is_answered_in_its_senders_terms() {
    let mut world = load(|options| options.masquerade = (true, true));
    let answered = |world: &mut World, there: &Frame| {
        let (_, out) = world.run(TO_NETWORK, &there.build());
        let old = there.clone().ttl(1);
        world.row(
            row("its second packet", FROM_POD, &old)
                .redirects(answer(world, &old, Body::TimeExceeded))
                .counts(Translated)
                .counts(TtlExceeded),
        );
        out
    };
    each(
        &mut world,
        |_| Vec::new(),
        |world| {
            let client = world.client(80);
            let there = world.frame(world.pod(1, 400), client);
            let out = answered(world, &there);
            let seen = world.node(source_port(&out));
            let back = world.frame(client, seen).flags(tcp::SYN | tcp::ACK).ttl(1);
            world.row(
                row("its answer", FROM_NETWORK, &back)
                    .redirects(answer(world, &back, Body::TimeExceeded))
                    .counts(ReplyTranslated)
                    .counts(TtlExceeded),
            );
        },
    );
    for v4 in [true, false] {
        world.begin(v4, UDP);
        let ping = world.frame(world.pod(1, 7), world.client(0)).body(Body::Echo);
        answered(&mut world, &ping);
    }
}

#[test]
fn a_ping_to_a_service_is_refused_as_one_that_has_no_ports() {
    let ranges = ["10.96.0.0/16", "fd00:10:96::/112"].map(|range| range.parse().unwrap());
    let mut world = load(|options| {
        (options.masquerade, options.service_ranges) = ((true, true), ranges.to_vec());
    });
    for v4 in [true, false] {
        world.begin(v4, UDP);
        for body in [Body::Echo, Body::EchoReply] {
            let ping = world.frame(world.pod(1, 7), world.service(1)).body(body);
            world.row(row("a ping", FROM_POD, ping).drops(UnallocatedAddress));
        }
    }
}

fn tunnels() -> World {
    // Nothing is sent: any device serves.
    load(|options| options.tunnel = Some(TunnelDevice { ifindex: 1, id: 1, port: TUNNEL_PORT }))
}

fn by_tunnel(world: &World) -> Vec<Network> {
    other_node(world, Some(Tunnel { node: "192.168.50.2".parse().unwrap(), mtu: FITS }))
}

#[test]
fn packets_for_other_nodes_pods_go_into_the_tunnel() {
    each(&mut tunnels(), by_tunnel, |world| {
        let (service, backend) = (world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        world.put(world.node(30080), &[], &[backend], 0);
        let plain = world.frame(world.pod(1, 400), backend);
        let asked = world.frame(world.pod(1, 400), service);
        let outside = world.frame(world.client(400), world.node(30080));
        let elsewhere = world.frame(world.pod(1, 400), world.client(80));
        world.rows([
            row("to a pod", FROM_POD, &plain).redirects(plain.clone().hop(INTO_TUNNEL)),
            row("to the world", FROM_POD, elsewhere),
            row("from outside", FROM_NETWORK, &outside)
                .redirects(outside.clone().between(world.node(NAT_PORT), backend).hop(INTO_TUNNEL))
                .counts(SourceTranslated),
        ]);
        let (verdict, out) = world.run(FROM_POD, &asked.build());
        let wanted = asked.between((world.pod(1, 0).ip(), source_port(&out)).into(), backend);
        assert_eq!((verdict, wanted.hop(INTO_TUNNEL).differs(&out)), (7, None));
        let old = world.frame(world.pod(1, 400), backend).ttl(1);
        world.row(row("TTL 1: the kernel answers", TO_NETWORK, old));
    });
}

#[test]
fn between_nodes_themselves_nothing_is_in_tunnels() {
    each(&mut tunnels(), by_tunnel, |world| {
        let (node_port, backend) = (world.node(30080), other(world, 8080));
        world.put(node_port, &[backend], &[backend], 0);
        world.put(world.service(1), &[backend], &[], 0);
        let outside = world.frame(world.client(400), node_port);
        let inside = world.frame(world.pod(1, 400), world.service(1));
        world.row(
            row("as this node", FROM_NETWORK, &outside)
                .redirects(outside.clone().between(world.node(NAT_PORT), backend).hop([ETH0, NODE2]))
                .counts(SourceTranslated),
        );
        let (verdict, out) = world.run(FROM_POD, &inside.build());
        let wanted = inside.between((world.pod(1, 0).ip(), source_port(&out)).into(), backend);
        assert_eq!((verdict, wanted.hop(INTO_TUNNEL).differs(&out)), (7, None), "as a pod");
    });
}

// S82
#[test]
fn what_does_not_fit_into_the_tunnel_is_answered_with_what_does() {
    each(&mut tunnels(), by_tunnel, |world| {
        world.put(world.node(30080), &[], &[world.remote(1, 8080)], 0);
        let long = world.frame(world.client(400), world.node(30080)).payload(&[0; 600]);
        let before = world.counted_of(TooBig);
        let (verdict, out) = world.run(FROM_NETWORK, &long.build());
        assert_eq!((verdict, world.counted_of(TooBig) - before), (7, 1), "it is answered");
        let icmp = if world.v4 { 14 + 20 } else { 14 + 40 };
        let kind = if world.v4 { [3, 4] } else { [2, 0] };
        assert_eq!(out[icmp..icmp + 2], kind, "type and code");
        assert_eq!(out[icmp + 6..icmp + 8], FITS.to_be_bytes(), "the size that fits");
    });
}

// S88
#[test]
fn a_pod_cannot_make_a_tunnel_packet() {
    let mut world = tunnels();
    for v4 in [true, false] {
        world.begin(v4, UDP);
        let networks = by_tunnel(&world);
        world.datapath.set_networks(&networks).unwrap();
        for to in [world.node(TUNNEL_PORT), world.client(TUNNEL_PORT)] {
            let forged = world.frame(world.pod(1, 400), to);
            // The node itself is no other node, and gets nothing by a tunnel from its own pods.
            world.row(row("forged", FROM_POD, forged).drops(ForeignTunnel));
        }
        let bare = world.frame(world.remote(1, 400), world.pod(1, 8080));
        world.row(row("without a tunnel", FROM_TUNNEL, bare).drops(ForeignTunnel));
    }
}

#[test]
fn what_the_kernel_routes_to_the_tunnels_is_addressed_or_ends() {
    each(&mut tunnels(), by_tunnel, |world| {
        let frame = world.frame(world.node(400), world.remote(1, 8080));
        world.row(
            row("to a pod of another node", TO_TUNNEL, &frame).passes_as(frame.clone().link(INTO_TUNNEL)),
        );
        world.row(row("addressed already", TO_TUNNEL, frame.link(INTO_TUNNEL)));
        let lost = world.frame(world.node(400), world.unheard(80));
        let (verdict, _) = world.run(TO_TUNNEL, &lost.build());
        assert_eq!(verdict, 2, "nobody is there");
    });
}

#[test]
fn before_anything_is_said_of_other_nodes_nothing_is_the_world() {
    let mut world = load(|options| options.masquerade = (true, true));
    for v4 in [true, false] {
        world.begin(v4, TCP);
        let frame = world.frame(world.pod(1, 400), world.client(80));
        world.row(row("not said yet", TO_NETWORK, frame));
    }
    let mut world = load(|options| {
        options.masquerade = (true, true);
        options.node_addresses.retain(IpAddr::is_ipv4);
    });
    world.begin(false, TCP);
    world.datapath.set_networks(&[]).unwrap();
    let frame = world.frame(world.pod(1, 400), world.client(80));
    world.row(row("no address to take", TO_NETWORK, frame));
}
