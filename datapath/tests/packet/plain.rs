//! Packets that nobody translates.

use etherparse::EtherType;
use fairway_common::TCP;

use crate::frame::Body;
use crate::table::{FROM_NETWORK, FROM_POD, TO_NETWORK, TO_POD, raw, row};
use crate::world::{World, each, each_family};

// S36
#[test]
fn a_packet_for_nobody_passes_untouched_at_every_hook() {
    each(|world| {
        world.put(world.service(1), &[world.remote(1, 8080)], &[], 0);
        let mut other_port = world.service(1);
        other_port.set_port(81);
        let sender = |world: &World, hook| {
            if hook == FROM_POD { world.pod(1, 400) } else { world.client(400) }
        };
        for hook in [FROM_POD, TO_POD, FROM_NETWORK, TO_NETWORK] {
            let frame = world.frame(sender(world, hook), world.remote(1, 8080));
            world.row(row("another address", hook, &frame));
        }
        for hook in [FROM_POD, FROM_NETWORK, TO_NETWORK] {
            let frame = world.frame(sender(world, hook), other_port);
            world.row(row("another port of a Service address", hook, frame));
        }
        world.expect_tracked(&[]);
    });
}

// S36
#[test]
fn the_same_port_of_the_other_protocol_is_not_the_service() {
    each(|world| {
        world.put(world.service(1), &[world.remote(1, 8080)], &[], 0);
        let frame = world.frame(world.pod(1, 400), world.service(1));
        let frame = match world.protocol {
            TCP => frame.body(Body::Udp { checksum: true }),
            _ => frame.body(Body::Tcp { flags: 2, sequence: 1, acknowledgment: 0 }),
        };
        world.row(row("the other protocol", FROM_POD, frame));
    });
}

// S84
#[test]
fn a_packet_between_two_pods_takes_one_hop_to_the_peer() {
    each(|world| {
        let frame = world.frame(world.pod(1, 400), world.pod(2, 8080));
        world.rows([
            row("from a pod", FROM_POD, &frame).redirects(frame.clone().hop(World::to_pod(2))),
            row("TTL 2", FROM_POD, frame.clone().ttl(2))
                .redirects(frame.clone().ttl(1).link(World::to_pod(2))),
            row("TTL 1: the kernel answers", FROM_POD, frame.clone().ttl(1)),
            row("TTL 0: the kernel answers", FROM_POD, frame.clone().ttl(0)),
        ]);
        let frame = world.frame(world.client(400), world.pod(2, 8080));
        world.rows([
            row("from outside", FROM_NETWORK, &frame).redirects(frame.clone().hop(World::to_pod(2))),
            row("TTL 1: the kernel answers", FROM_NETWORK, frame.ttl(1)),
        ]);
    });
}

// S84
#[test]
fn counting_down_the_time_to_live_keeps_every_header_checksum_right() {
    each_family(TCP, |world| {
        for id in (0..=u16::MAX).step_by(13).chain([u16::MAX]) {
            let frame = world.frame(world.pod(1, 400), world.pod(2, 8080)).id(id);
            let (verdict, out) = world.run(FROM_POD, &frame.build());
            assert_eq!(verdict, 7);
            assert_eq!(frame.hop(World::to_pod(2)).differs(&out), None);
        }
    });
}

#[test]
fn other_protocols_are_delivered_to_pods_and_left_alone_elsewhere() {
    each_family(TCP, |world| {
        for body in [Body::Echo, Body::Other(132), Body::Other(47)] {
            let elsewhere = world.frame(world.pod(1, 1), world.service(1)).body(body);
            let pod = world.frame(world.pod(1, 1), world.pod(2, 1)).body(body);
            world.rows([
                row("from a pod", FROM_POD, &elsewhere),
                row("from the network", FROM_NETWORK, &elsewhere),
                row("to the network", TO_NETWORK, &elsewhere),
                row("to a pod", TO_POD, &elsewhere),
                row("to another pod", FROM_POD, &pod).redirects(pod.hop(World::to_pod(2))),
            ]);
        }
        world.expect_tracked(&[]);
    });
}

#[test]
fn arp_and_vlan_frames_pass() {
    each_family(TCP, |world| {
        world.put(world.service(1), &[world.remote(1, 8080)], &[], 0);
        let frame = world.frame(world.pod(1, 400), world.service(1)).build();
        let mut tagged = frame[..12].to_vec();
        tagged.extend([0x81, 0, 0, 5]);
        tagged.extend(&frame[12..]);
        let mut arp = frame.clone();
        arp[12..14].copy_from_slice(&EtherType::ARP.0.to_be_bytes());
        for hook in [FROM_POD, TO_POD, FROM_NETWORK, TO_NETWORK] {
            world.rows([raw("ARP", hook, arp.clone()), raw("VLAN", hook, tagged.clone())]);
        }
    });
}
