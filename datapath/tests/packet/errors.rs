//! ICMP errors: about packets that this node has translated, and those that it sends itself.

use fairway_common::Reason::{ErrorTranslated, NoRoute, ServiceNew, TooBig, Translated, TtlExceeded};
use fairway_common::service::Frontend;

use crate::frame::{Body, ETHERNET, Extra, Frame, source_port};
use crate::netns::{CLIENT, ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, TO_NETWORK, TO_POD, row};
use crate::world::{World, each};

/// An error about a packet, from whoever could not deliver it: all of it is quoted, or its first bytes.
fn about(error: &Frame, quoted: &Frame, bytes: usize) -> Frame {
    let quoted = quoted.build();
    let end = quoted.len().min(ETHERNET + bytes);
    error.clone().payload(&quoted[ETHERNET..end])
}

/// A packet's error in every length, before and after: with and without the transport checksum.
fn lengths(world: &World) -> [usize; 3] {
    let header = if world.v4 { 20 } else { 40 };
    [header + 8, header + 18, 1000]
}

// S40, S83
#[test]
fn an_error_about_a_packet_to_a_backend_reaches_the_client_in_its_own_terms() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let asked = world.frame(pod, service);
        let sent = asked.clone().between(pod, backend);
        for body in [Body::Unreachable, Body::TooBig(1400), Body::TimeExceeded] {
            let error = world.frame(backend, pod).body(body);
            for bytes in lengths(world) {
                let unknown = about(&error, &sent, bytes);
                world.row(
                    row("nobody translated it", FROM_NETWORK, &unknown)
                        .redirects(unknown.clone().hop(World::to_pod(1))),
                );
            }
        }
        world.run(FROM_POD, &asked.build());
        let tracked = world.tracked();
        for body in [Body::Unreachable, Body::TooBig(1400), Body::TimeExceeded] {
            for (name, from, shown) in
                [("of the backend", backend, service), ("of a router", world.client(0), world.client(0))]
            {
                let (error, wanted) = (world.frame(from, pod).body(body), world.frame(shown, pod).body(body));
                for bytes in lengths(world) {
                    for extra in [Extra::Nothing, Extra::Options] {
                        let frame = about(&error.clone().extra(extra), &sent, bytes);
                        let wanted = about(&wanted.clone().extra(extra), &asked, bytes);
                        world.row(
                            row(name, FROM_NETWORK, &frame)
                                .redirects(wanted.hop(World::to_pod(1)))
                                .counts(ErrorTranslated),
                        );
                    }
                }
            }
        }
        assert_eq!(world.tracked(), tracked, "an error neither makes nor refreshes a connection");
    });
}

// S83
#[test]
fn an_error_about_a_packet_with_another_source_reaches_the_client() {
    each(|world| {
        let (client, node_port, backend) = (world.client(400), world.node(30080), world.remote(1, 8080));
        world.put(node_port, &[], &[backend], 0);
        let asked = world.frame(client, node_port);
        let (_, out) = world.run(FROM_NETWORK, &asked.build());
        let node = world.node(source_port(&out));
        let sent = asked.clone().between(node, backend);
        let error = world.frame(backend, node).body(Body::Unreachable);
        let wanted = world.frame(node_port, client).body(Body::Unreachable);
        for bytes in lengths(world) {
            world.row(
                row("of the backend", FROM_NETWORK, about(&error, &sent, bytes))
                    .redirects(about(&wanted, &asked, bytes).hop([ETH0, CLIENT]))
                    .counts(ErrorTranslated),
            );
        }
    });
}

// S40
#[test]
fn an_error_of_a_local_backend_reaches_the_client_outside() {
    each(|world| {
        let (client, node_port, backend) = (world.client(400), world.node(30080), world.pod(1, 8080));
        world.put(node_port, &[], &[backend], Frontend::KEEP_CLIENT);
        let asked = world.frame(client, node_port);
        world.run(FROM_NETWORK, &asked.build());
        let sent = asked.clone().between(client, backend);
        let error = world.frame(backend, client).body(Body::Unreachable);
        let wanted = world.frame(node_port, client).body(Body::Unreachable);
        for bytes in lengths(world) {
            world.row(
                row("a closed port", FROM_POD, about(&error, &sent, bytes))
                    .redirects(about(&wanted, &asked, bytes).hop([ETH0, CLIENT]))
                    .counts(ErrorTranslated),
            );
        }
    });
}

// S40, S83
#[test]
fn an_error_about_a_reply_reaches_the_backend_in_its_own_terms() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.pod(2, 8080));
        world.put(service, &[backend], &[], 0);
        world.run(FROM_POD, &world.frame(pod, service).build());
        let replied = world.frame(backend, pod);
        let seen = replied.clone().between(service, pod);
        let error = world.frame(pod, service).body(Body::Unreachable);
        let wanted = world.frame(pod, backend).body(Body::Unreachable);
        for bytes in lengths(world) {
            world.row(
                row("of the client", FROM_POD, about(&error, &seen, bytes))
                    .redirects(about(&wanted, &replied, bytes).hop(World::to_pod(2)))
                    .counts(ErrorTranslated),
            );
        }
    });
}

// S83
#[test]
fn errors_of_the_node_itself_are_translated_where_they_leave() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.node(8080));
        world.put(service, &[backend], &[backend], 0);
        let asked = world.frame(pod, service);
        world.run(FROM_POD, &asked.build());
        let sent = asked.clone().between(pod, backend);
        let error = world.frame(backend, pod).body(Body::Unreachable);
        let wanted = world.frame(service, pod).body(Body::Unreachable);
        world.row(
            row("to a pod", TO_POD, about(&error, &sent, 1000))
                .passes_as(about(&wanted, &asked, 1000))
                .counts(ErrorTranslated),
        );
        let client = world.client(400);
        let asked = world.frame(client, service);
        world.run(FROM_NETWORK, &asked.build());
        let sent = asked.clone().between(client, backend);
        let error = world.frame(backend, client).body(Body::Unreachable);
        let wanted = world.frame(service, client).body(Body::Unreachable);
        world.row(
            row("to a client outside", TO_NETWORK, about(&error, &sent, 1000))
                .redirects(about(&wanted, &asked, 1000))
                .counts(ErrorTranslated),
        );
    });
}

/// An answer of this node to the sender of a packet, which it quotes.
pub(crate) fn answer(world: &World, frame: &Frame, body: Body) -> Frame {
    let [sender, receiver] = frame.link;
    let error = world.frame(world.node(0), frame.source).link([receiver, sender]).id(0).body(body);
    about(&error, frame, frame.transport() - ETHERNET + 8)
}

// S82
#[test]
fn a_translated_packet_too_big_for_the_next_link_is_answered_with_its_mtu() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[backend], 0);
        for extra in [Extra::Nothing, Extra::Options] {
            world.begin(world.v4, world.protocol);
            world.put(service, &[backend], &[backend], 0);
            let frame = world.frame(pod, service).extra(extra);
            let room = 1500 - (frame.clone().payload(&[]).build().len() - ETHERNET);
            let fits = frame.clone().payload(&vec![1; room]);
            let big = frame.clone().payload(&vec![1; room + 1]);
            world.rows([
                row("1500 bytes", FROM_POD, &fits)
                    .redirects(fits.clone().between(pod, backend).hop([ETH0, NODE2]))
                    .counts(ServiceNew),
                row("1501 bytes", FROM_POD, &big)
                    .redirects(answer(world, &big, Body::TooBig(1500)))
                    .counts(Translated)
                    .counts(TooBig),
            ]);
            let client = world.client(400);
            let big = world.frame(client, service).extra(extra).payload(&[1; 3000]);
            world.run(FROM_NETWORK, &world.frame(client, service).build());
            world.row(
                row("from outside, with another source", FROM_NETWORK, &big)
                    .redirects(answer(world, &big, Body::TooBig(1500)))
                    .counts(Translated)
                    .counts(TooBig),
            );
        }
    });
}

// S86: what may be cut is cut by the kernel.
#[test]
fn a_packet_too_big_that_may_be_cut_is_left_to_the_kernel() {
    each(|world| {
        if !world.v4 {
            return;
        }
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let frame = world.frame(pod, service).payload(&[1; 3000]).may_be_cut();
        world.row(
            row("3000 bytes", FROM_POD, &frame)
                .passes_as(frame.clone().between(pod, backend))
                .counts(ServiceNew),
        );
    });
}

// S84
#[test]
fn a_translated_packet_at_the_end_of_its_time_is_answered() {
    each(|world| {
        let (pod, service) = (world.pod(1, 400), world.service(1));
        world.put(service, &[world.remote(1, 8080)], &[], 0);
        world.put(world.service(2), &[world.pod(2, 8080)], &[], 0);
        for service in [service, world.service(2)] {
            let frame = world.frame(pod, service).ttl(1);
            world.row(
                row("time is over", FROM_POD, &frame)
                    .redirects(answer(world, &frame, Body::TimeExceeded))
                    .counts(ServiceNew)
                    .counts(TtlExceeded),
            );
        }
    });
}

#[test]
fn a_translated_packet_without_a_route_is_dropped() {
    each(|world| {
        let (pod, service) = (world.pod(1, 400), world.service(1));
        world.put(service, &[world.unreachable(8080)], &[], 0);
        world.row(row("no route", FROM_POD, world.frame(pod, service)).counts(ServiceNew).drops(NoRoute));
    });
}

// An error about an error would never end.
#[test]
fn errors_are_not_answered() {
    each(|world| {
        let (client, node_port, backend) = (world.client(400), world.node(30080), world.remote(1, 8080));
        world.put(node_port, &[], &[backend], 0);
        let asked = world.frame(client, node_port);
        let (_, out) = world.run(FROM_NETWORK, &asked.build());
        let node = world.node(source_port(&out));
        let error = world.frame(backend, node).body(Body::Unreachable).ttl(1);
        let error = about(&error, &asked.between(node, backend), 1000);
        world.row(row("time is over", FROM_NETWORK, error).counts(ErrorTranslated).drops(TtlExceeded));
    });
}
