//! Backends that drain, go, or become another's: which flows move, and which stay.

use std::net::SocketAddr;

use fairway_common::Reason::{ReplyTranslated, ServiceNew, Translated};
use fairway_common::conntrack::tcp;
use fairway_common::service::backend_flags::{DRAINING, GONE};
use fairway_common::{Reason, TCP, UDP};

use crate::frame::Body;
use crate::netns::{ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, Row, row};
use crate::world::{World, each, each_family};

/// A packet of a pod to the Service that goes to a backend of the other node.
fn sends(world: &World, name: &'static str, port: u16, backend: SocketAddr, reason: Reason) -> Row {
    let pod = world.pod(1, port);
    let frame = world.frame(pod, world.service(1)).flags(tcp::ACK);
    row(name, FROM_POD, &frame)
        .redirects(frame.clone().between(pod, backend).hop([ETH0, NODE2]))
        .counts(reason)
}

/// A Service with one backend, which a flow is using; then another backend takes its place.
fn replaced(world: &mut World, flags: u16) -> [SocketAddr; 2] {
    let [old, new] = [world.remote(1, 8080), world.remote(2, 8080)];
    let run = world.put_run(&[old]);
    let service = world.id;
    let value = fairway_common::service::Frontend { inside: run, service, ..Default::default() };
    world.put_frontend(world.service(1), value);
    world.row(sends(world, "first", 400, old, ServiceNew));
    world.set_backend(run.first, old, flags);
    world.put(world.service(1), &[new], &[], 0);
    [old, new]
}

// S54, S58: also a flow that is never answered moves.
#[test]
fn a_udp_flow_moves_when_its_backend_is_gone() {
    each_family(UDP, |world| {
        let [old, new] = replaced(world, GONE);
        world.rows([
            sends(world, "moves", 400, new, ServiceNew),
            sends(world, "stays there", 400, new, Translated),
        ]);
        let pod = world.pod(1, 400);
        let late = world.frame(old, pod);
        world.row(
            row("a late reply of the old backend", FROM_NETWORK, &late)
                .redirects(late.clone().between(world.service(1), pod).hop(World::to_pod(1)))
                .counts(ReplyTranslated),
        );
    });
}

// S55, S58: without any backend the sender is told, and a new backend gets the same socket's next datagram.
#[test]
fn a_udp_flow_whose_service_has_no_backend_is_refused_until_there_is_one() {
    each_family(UDP, |world| {
        replaced(world, GONE);
        world.put(world.service(1), &[], &[], 0);
        let frame = world.frame(world.pod(1, 400), world.service(1));
        let [sender, receiver] = frame.link;
        let size = if world.v4 { 28 } else { 48 };
        let answer = world.frame(world.service(1), world.pod(1, 0)).link([receiver, sender]).id(0);
        let answer = answer.body(Body::Unreachable).payload(&frame.build()[14..14 + size]);
        world.row(row("nobody", FROM_POD, &frame).redirects(answer).counts(Reason::NoBackend));
        world.put(world.service(1), &[world.remote(3, 8080)], &[], 0);
        world.row(sends(world, "a new one", 400, world.remote(3, 8080), ServiceNew));
    });
}

// S57
#[test]
fn a_udp_flow_stays_with_a_backend_that_still_serves() {
    each_family(UDP, |world| {
        let [old, new] = replaced(world, DRAINING);
        world.rows([
            sends(world, "stays", 400, old, Translated),
            sends(world, "another client", 401, new, ServiceNew),
            sends(world, "stays still", 400, old, Translated),
        ]);
    });
}

// S38, S41, S59
#[test]
fn a_tcp_connection_keeps_its_backend_whatever_becomes_of_it() {
    each_family(TCP, |world| {
        for flags in [DRAINING, GONE] {
            world.begin(world.v4, world.protocol);
            let [old, new] = replaced(world, flags);
            world.rows([
                sends(world, "stays", 400, old, Translated),
                sends(world, "another client", 401, new, ServiceNew),
            ]);
            world.put(world.service(1), &[], &[], 0);
            world.row(sends(world, "S38: stays without any endpoint", 400, old, Translated));
        }
    });
}

// S56
#[test]
fn a_udp_flow_moves_when_its_backends_id_is_anothers() {
    each_family(UDP, |world| {
        let another = [
            ("another port of the same pod", world.remote(1, 8081), 7),
            ("another pod", world.remote(9, 8080), 7),
            ("another Service port", world.remote(1, 8080), 8),
        ];
        for (name, at, service) in another {
            world.begin(world.v4, world.protocol);
            let [_, new] = replaced(world, 0);
            // The flow's backend is the first one that was written.
            world.id = service;
            world.set_backend(1, at, 0);
            world.row(sends(world, name, 400, new, ServiceNew));
        }
    });
}

// S59
#[test]
fn other_flows_do_not_move_with_one_backend() {
    each(|world| {
        let [pod, gone, other] = [world.pod(1, 400), world.remote(1, 8080), world.remote(1, 9090)];
        world.put(world.service(2), &[other], &[], 0);
        let frame = world.frame(pod, world.service(2));
        world.run(FROM_POD, &frame.build());
        replaced(world, GONE);
        assert_ne!(gone, other);
        world.row(
            row("another port of the same pod", FROM_POD, &frame)
                .redirects(frame.clone().between(pod, other).hop([ETH0, NODE2]))
                .counts(Translated),
        );
        let plain = world.frame(world.pod(1, 401), gone);
        world.row(row("not by a Service", FROM_POD, &plain));
    });
}

// S51
#[test]
fn segments_out_of_the_window_never_leave_untranslated() {
    each_family(TCP, |world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        world.run(FROM_POD, &world.frame(pod, service).build());
        for (sequence, acknowledgment) in [(0, 0), (u32::MAX, 5), (1 << 31, 1 << 31)] {
            let body = Body::Tcp { flags: tcp::ACK, sequence, acknowledgment };
            let back = world.frame(backend, pod).body(body);
            world.row(
                row("a reply", FROM_NETWORK, &back)
                    .redirects(back.clone().between(service, pod).hop(World::to_pod(1)))
                    .counts(ReplyTranslated),
            );
        }
    });
}

// S46
#[test]
fn a_connection_goes_on_after_a_spurious_reset() {
    each_family(TCP, |world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        world.run(FROM_POD, &world.frame(pod, service).build());
        let other = world.remote(2, 8080);
        world.put(service, &[other], &[], 0);
        for flags in [tcp::RST, tcp::ACK] {
            let back = world.frame(backend, pod).flags(flags);
            world.row(
                row("a reply", FROM_NETWORK, &back)
                    .redirects(back.clone().between(service, pod).hop(World::to_pod(1)))
                    .counts(ReplyTranslated),
            );
            world.row(sends(world, "the client", 400, backend, Translated));
        }
    });
}
