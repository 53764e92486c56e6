//! Fragments of datagrams that are translated, in order and out of it.

use std::os::fd::AsRawFd;

use fairway_common::Reason::{
    Fragment, FragmentHeld, FragmentTranslated, ReplyTranslated, ServiceNew, SourceTranslated, Translated,
};
use fairway_common::UDP;
use fairway_common::fragment::PLACES;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::frame::{Body, Extra, Frame, source_port};
use crate::netns::{CLIENT, ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, NAT_PORT, TO_NETWORK, row};
use crate::world::{World, each, each_family};

/// The first fragment and two later ones, which have no ports: only bytes.
pub(crate) fn pieces(first: Frame) -> [Frame; 3] {
    let piece = |offset, more| {
        let payload = vec![offset as u8; 64];
        let body = Body::Other(if matches!(first.body, Body::Udp { .. }) { UDP } else { 6 });
        first.clone().extra(Extra::Fragment { offset, more }).body(body).payload(&payload)
    };
    let later = [piece(9, true), piece(17, false)];
    let [one, two] = later;
    [first.extra(Extra::Fragment { offset: 0, more: true }), one, two]
}

// S85
#[test]
fn fragments_to_a_service_and_of_its_replies_are_translated_alike() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let there = pieces(world.frame(pod, service));
        let reasons = [ServiceNew, FragmentTranslated, FragmentTranslated];
        for (frame, reason) in there.iter().zip(reasons) {
            world.row(
                row("there", FROM_POD, frame)
                    .redirects(frame.clone().between(pod, backend).hop([ETH0, NODE2]))
                    .counts(reason),
            );
        }
        world.row(
            row("first of another", FROM_POD, there[0].clone().id(9))
                .redirects(there[0].clone().id(9).between(pod, backend).hop([ETH0, NODE2]))
                .counts(Translated),
        );
        let back = pieces(world.frame(backend, pod));
        let reasons = [ReplyTranslated, FragmentTranslated, FragmentTranslated];
        for (frame, reason) in back.iter().zip(reasons) {
            world.row(
                row("back", FROM_NETWORK, frame)
                    .redirects(frame.clone().between(service, pod).hop(World::to_pod(1)))
                    .counts(reason),
            );
        }
    });
}

// S85
#[test]
fn fragments_from_outside_get_the_same_source_and_come_back_to_the_client() {
    each(|world| {
        let (client, node_port, backend) = (world.client(400), world.node(30080), world.remote(1, 8080));
        world.put(node_port, &[], &[backend], 0);
        let there = pieces(world.frame(client, node_port));
        let node = world.node(NAT_PORT);
        let out = world.row(
            row("first", FROM_NETWORK, &there[0])
                .redirects(there[0].clone().between(node, backend).hop([ETH0, NODE2]))
                .counts(SourceTranslated),
        );
        for frame in &there[1..] {
            world.row(
                row("later", FROM_NETWORK, frame)
                    .redirects(frame.clone().between(node, backend).hop([ETH0, NODE2]))
                    .counts(FragmentTranslated),
            );
        }
        let back = pieces(world.frame(backend, world.node(source_port(&out))));
        for (frame, reason) in back.iter().zip([ReplyTranslated, FragmentTranslated, FragmentTranslated]) {
            world.row(
                row("back", FROM_NETWORK, frame)
                    .redirects(frame.clone().between(node_port, client).hop([ETH0, CLIENT]))
                    .counts(reason),
            );
        }
    });
}

// S85
#[test]
fn a_fragment_that_comes_before_its_first_waits_and_comes_again_behind_it() {
    each_family(UDP, |world| {
        let (client, service, backend) = (world.client(400), world.node(30080), world.pod(1, 8080));
        world.put(service, &[], &[backend], 0);
        let [first, one, two] = pieces(world.frame(client, service));
        let listener =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll)
                .unwrap();
        world.rows([
            row("the last", FROM_NETWORK, &two).drops(FragmentHeld),
            row("the one before", FROM_NETWORK, &one).drops(FragmentHeld),
        ]);
        assert_eq!(world.held.keys().count(), 2);
        let (verdict, _) = world.run(FROM_NETWORK, &first.build());
        assert_eq!(verdict, 2, "the first comes again, too");
        assert_eq!(world.held.keys().count(), 0);
        let wanted = [&first, &two, &one].map(Frame::build);
        let mut seen = Vec::new();
        let mut buffer = [0; 2000];
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while seen.len() < wanted.len() && std::time::Instant::now() < end {
            if let Ok(length) = recv(listener.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                let frame = buffer[..length].to_vec();
                if wanted.contains(&frame) && !seen.contains(&frame) {
                    seen.push(frame);
                }
            }
        }
        assert_eq!(seen, wanted, "what came in by the device again");
        for (frame, reason) in [(first, ServiceNew), (two, FragmentTranslated), (one, FragmentTranslated)] {
            world.row(
                row("again", FROM_NETWORK, &frame)
                    .redirects(frame.clone().between(client, backend).hop(World::to_pod(1)))
                    .counts(reason),
            );
        }
    });
}

// S85
#[test]
fn no_more_fragments_of_a_datagram_wait_than_there_are_places() {
    each_family(UDP, |world| {
        let [_, later, _] = pieces(world.frame(world.client(400), world.node(30080)));
        for _ in 0..PLACES {
            world.row(row("waits", FROM_NETWORK, &later).drops(FragmentHeld));
        }
        world.rows([
            row("one too many", FROM_NETWORK, &later).drops(Fragment),
            row("one too long", FROM_NETWORK, later.clone().id(8).payload(&[1; 2048])).drops(Fragment),
        ]);
    });
}

// S85
#[test]
fn fragments_that_nobody_translates_go_on_as_they_are() {
    each(|world| {
        world.put(world.service(1), &[world.remote(1, 8080)], &[], 0);
        for frame in pieces(world.frame(world.pod(1, 400), world.pod(2, 8080))) {
            world.row(row("to a pod", FROM_POD, &frame).redirects(frame.clone().hop(World::to_pod(2))));
        }
        let [first, one, two] = pieces(world.frame(world.pod(1, 400), world.remote(1, 8080)));
        world.rows([&two, &first, &one].map(|frame| row("elsewhere", FROM_POD, frame)));
        let node = pieces(world.frame(world.client(400), world.node(400)));
        world.rows(node.iter().map(|frame| row("to the node", FROM_NETWORK, frame)));
        let out = pieces(world.frame(world.node(400), world.client(400)));
        world.rows(out.iter().map(|frame| row("of the node", TO_NETWORK, frame)));
        let ping = world.frame(world.pod(1, 1), world.remote(1, 1)).body(Body::Other(1));
        world.row(row("another protocol", FROM_POD, ping.extra(Extra::Fragment { offset: 9, more: true })));
        assert_eq!(world.held.keys().count(), 0);
    });
}
