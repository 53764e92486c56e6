//! Pods that reach Services.

use fairway_common::Reason::{BackendMissing, ReplyTranslated, ServiceNew, SourceTranslated, Translated};
use fairway_common::TCP;
use fairway_common::conntrack::{flags, tcp};
use fairway_common::service::{Frontend, Run};
use fairway_datapath::table::{Op, Tables};

use crate::frame::{Body, source_port};
use crate::netns::{ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, NAT_PORT, TO_POD, row};
use crate::tracked::tracks;
use crate::world::{World, each, each_family};

#[test]
fn a_pod_reaches_a_remote_backend_and_its_replies_come_from_the_service() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let there = world.frame(pod, service);
        let back = world.frame(backend, pod).flags(tcp::SYN | tcp::ACK);
        let routed = |frame: &crate::frame::Frame| frame.clone().between(pod, backend).hop([ETH0, NODE2]);
        world.row(row("first", FROM_POD, &there).redirects(routed(&there)).counts(ServiceNew));
        world.expect_tracked(&[tracks((pod, service), (pod, backend), world.first(), 0)]);

        let more = there.clone().flags(tcp::ACK);
        world.rows([
            row("reply", FROM_NETWORK, &back)
                .redirects(back.clone().between(service, pod).hop(World::to_pod(1)))
                .counts(ReplyTranslated),
            row("more", FROM_POD, &more).redirects(routed(&more)).counts(Translated),
        ]);
        let (original, reply) = (world.first() | flags::DATA, world.first());
        world.expect_tracked(&[tracks((pod, service), (pod, backend), original, reply)]);
    });
}

#[test]
fn a_pod_reaches_a_backend_beside_it_and_its_replies_come_from_the_service() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.pod(2, 8080));
        world.put(service, &[backend], &[], 0);
        let there = world.frame(pod, service);
        let back = world.frame(backend, pod).flags(tcp::SYN | tcp::ACK);
        world.rows([
            row("first", FROM_POD, &there)
                .redirects(there.clone().between(pod, backend).hop(World::to_pod(2)))
                .counts(ServiceNew),
            row("reply", FROM_POD, &back)
                .redirects(back.clone().between(service, pod).hop(World::to_pod(1)))
                .counts(ReplyTranslated),
            row("again", FROM_POD, &there)
                .redirects(there.clone().between(pod, backend).hop(World::to_pod(2)))
                .counts(Translated),
        ]);
        world.expect_tracked(&[tracks((pod, service), (pod, backend), world.first(), world.first())]);
    });
}

#[test]
fn a_reply_that_came_through_the_nodes_stack_is_translated_at_the_pods_device() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.node(8080));
        world.put(service, &[backend], &[], 0);
        let there = world.frame(pod, service);
        let back = world.frame(backend, pod).flags(tcp::SYN | tcp::ACK);
        world.rows([
            row("to a process of the node", FROM_POD, &there)
                .passes_as(there.clone().between(pod, backend))
                .counts(ServiceNew),
            row("reply", TO_POD, &back).passes_as(back.clone().between(service, pod)).counts(ReplyTranslated),
            row("new connections do not start here", TO_POD, world.frame(world.client(400), service)),
        ]);
    });
}

// S44
#[test]
fn a_retransmitted_first_packet_goes_to_the_same_backend() {
    each(|world| {
        let (pod, service) = (world.pod(1, 400), world.service(1));
        let backends: Vec<_> = (1..=50).map(|n| world.remote(n, 8080)).collect();
        world.put(service, &backends, &[], 0);
        let frame = world.frame(pod, service).build();
        let (_, first) = world.run(FROM_POD, &frame);
        for _ in 0..100 {
            assert_eq!(world.run(FROM_POD, &frame), (7, first.clone()));
        }
        assert_eq!(world.tracked().len(), 2);
    });
}

// S49
#[test]
fn one_client_port_reaches_two_services_with_the_same_backend() {
    each(|world| {
        let (pod, backend) = (world.pod(1, 400), world.remote(1, 8080));
        let (one, two) = (world.service(1), world.service(2));
        world.put(one, &[backend], &[], 0);
        world.put(two, &[backend], &[], 0);
        let (to_one, to_two) = (world.frame(pod, one), world.frame(pod, two));
        let mut other = pod;
        other.set_port(NAT_PORT);
        world.row(
            row("to one", FROM_POD, &to_one)
                .redirects(to_one.clone().between(pod, backend).hop([ETH0, NODE2]))
                .counts(ServiceNew),
        );
        let out = world.row(
            row("to two", FROM_POD, &to_two)
                .redirects(to_two.clone().between(other, backend).hop([ETH0, NODE2]))
                .counts(ServiceNew),
        );
        other.set_port(source_port(&out));
        assert_ne!(other, pod);
        for (to, service) in [(pod, one), (other, two)] {
            let back = world.frame(backend, to);
            world.row(
                row("reply", FROM_NETWORK, &back)
                    .redirects(back.clone().between(service, pod).hop(World::to_pod(1)))
                    .counts(ReplyTranslated),
            );
        }
    });
}

// S72
#[test]
fn a_pod_that_is_its_own_backend_sees_the_node() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.pod(1, 8080));
        world.put(service, &[backend], &[], 0);
        let there = world.frame(pod, service);
        let out = world.row(
            row("there", FROM_POD, &there)
                .redirects(there.clone().between(world.node(NAT_PORT), backend).hop(World::to_pod(1)))
                .counts(SourceTranslated),
        );
        let node = world.node(source_port(&out));
        world.expect_tracked(&[tracks((pod, service), (node, backend), world.first(), 0)]);
        let back = world.frame(backend, node).flags(tcp::SYN | tcp::ACK);
        world.row(
            row("back", FROM_POD, &back)
                .redirects(back.clone().between(service, pod).hop(World::to_pod(1)))
                .counts(ReplyTranslated),
        );
    });
}

#[test]
fn every_slot_of_a_run_is_picked_about_equally() {
    each_family(TCP, |world| {
        const BACKENDS: u8 = 8;
        const CONNECTIONS: u16 = 4000;
        let service = world.service(1);
        let backends: Vec<_> = (1..=BACKENDS).map(|n| world.remote(n, 8080)).collect();
        world.put(service, &backends, &[], 0);
        for port in 0..CONNECTIONS {
            let frame = world.frame(world.pod(1, 10_000 + port), service);
            world.run(FROM_POD, &frame.build());
        }
        let tracked = world.tracked();
        let even = usize::from(CONNECTIONS) / usize::from(BACKENDS);
        for backend in backends {
            let picked = tracked.iter().filter(|track| track.to.1 == backend).count();
            assert!((even * 3 / 4..even * 5 / 4).contains(&picked), "{backend}: {picked} of {CONNECTIONS}");
        }
    });
}

#[test]
fn a_slot_that_names_no_backend_drops() {
    each(|world| {
        let (pod, service) = (world.pod(1, 400), world.service(1));
        let frame = world.frame(pod, service);
        // An id that was never given, an id behind the last one, a run behind the last slot.
        let behind = Op::PutSlots { first: 400_001, backends: vec![u32::MAX] };
        world.datapath.apply(&behind).unwrap();
        for first in [400_000, 400_001, u32::MAX] {
            let run = Run { first, count: 1 };
            world.put_frontend(
                service,
                Frontend { inside: run, outside: run, service: 7, flags: 0, ..Frontend::default() },
            );
            world.rows([
                row("inside", FROM_POD, &frame).drops(BackendMissing),
                row("outside", FROM_NETWORK, &frame).drops(BackendMissing),
            ]);
        }
        world.expect_tracked(&[]);
    });
}

#[test]
fn a_backend_whose_neighbour_is_unknown_is_resolved_by_the_kernel() {
    each(|world| {
        let (pod, service) = (world.pod(1, 400), world.service(1));
        let frame = world.frame(pod, service);
        world.put(service, &[world.unheard(8080)], &[], 0);
        world.row(
            row("no neighbour", FROM_POD, &frame)
                .redirects(frame.clone().between(pod, world.unheard(8080)).hop([[0; 6]; 2]))
                .counts(ServiceNew),
        );
    });
}

// S94
#[test]
fn a_udp_checksum_of_zero_stays_zero() {
    each_family(fairway_common::UDP, |world| {
        if !world.v4 {
            return;
        }
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let none = Body::Udp { checksum: false };
        let there = world.frame(pod, service).body(none);
        let back = world.frame(backend, pod).body(none);
        world.rows([
            row("there", FROM_POD, &there)
                .redirects(there.clone().between(pod, backend).hop([ETH0, NODE2]))
                .counts(ServiceNew),
            row("back", FROM_NETWORK, &back)
                .redirects(back.clone().between(service, pod).hop(World::to_pod(1)))
                .counts(ReplyTranslated),
        ]);
    });
}
