//! One client port that asks a Service and its backend at the same time.

use fairway_common::Reason::{ReplyTranslated, ServiceNew, Translated};
use fairway_common::conntrack::tcp;
use fairway_common::{TCP, UDP};

use crate::frame::source_port;
use crate::netns::{ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, row};
use crate::world::{World, each, each_family};

/// A client by the Service, then directly: what hook sees it, and how its packets go on.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// From a pod to a pod of this node.
    Local,
    /// From a pod to a pod of another node.
    Remote,
    /// From outside to a pod of this node: by a NodePort, and by a route to the pods.
    Outside,
}

// S49
#[test]
fn a_client_port_that_asks_a_service_and_its_backend_gets_each_answer_from_whom_it_asked() {
    for way in [Way::Local, Way::Remote, Way::Outside] {
        each(|world| {
            let (client, hook) = match way {
                Way::Outside => (world.client(4000), FROM_NETWORK),
                _ => (world.pod(1, 4000), FROM_POD),
            };
            let service = if way == Way::Outside { world.node(30080) } else { world.service(1) };
            let (backend, back_hook) = match way {
                Way::Remote => (world.remote(1, 8080), FROM_NETWORK),
                _ => (world.pod(2, 8080), FROM_POD),
            };
            let there = if way == Way::Remote { [ETH0, NODE2] } else { World::to_pod(2) };
            world.put(service, &[backend], &[backend], 0);

            let by_service = world.frame(client, service);
            world.row(
                row("by the Service", hook, &by_service)
                    .redirects(by_service.clone().between(client, backend).hop(there))
                    .counts(ServiceNew),
            );
            // Directly, from the same port: the backend sees another one.
            let direct = world.frame(client, backend);
            let (verdict, out) = world.run(hook, &direct.build());
            assert_eq!(verdict, 7);
            let (mut seen, port) = (client, source_port(&out));
            seen.set_port(port);
            assert_ne!(port, client.port());
            assert_eq!(direct.clone().between(seen, backend).hop(there).differs(&out), None);
            // What follows is the same connection.
            let more = if world.protocol == TCP { direct.clone().flags(tcp::ACK) } else { direct.clone() };
            world.row(
                row("directly again", hook, &more)
                    .redirects(more.clone().between(seen, backend).hop(there))
                    .counts(Translated),
            );
            assert_eq!(world.tracked().len(), 4);

            for (to, from) in [(client, service), (seen, backend)] {
                let answer = world.frame(backend, to);
                let answer = if world.protocol == TCP { answer.flags(tcp::SYN | tcp::ACK) } else { answer };
                let (verdict, out) = world.run(back_hook, &answer.build());
                assert_eq!(verdict, 7);
                let shown = answer.between(from, client);
                assert_eq!(shown.hop(mac_of(&out)).differs(&out), None);
            }
        });
    }
}

/// The link addresses of a packet, source first: they are not what is asked here.
fn mac_of(packet: &[u8]) -> [[u8; 6]; 2] {
    let at = |from: usize| packet.get(from..from + 6).and_then(|it| it.try_into().ok()).unwrap();
    [at(6), at(0)]
}

// S49: a flow that was there first has no entry; it gets one when its replies would go wrong.
#[test]
fn datagrams_sent_directly_before_the_service_was_asked_go_on() {
    each_family(UDP, |world| {
        let (client, service, backend) = (world.pod(1, 4000), world.service(1), world.pod(2, 8080));
        world.put(service, &[backend], &[backend], 0);
        let direct = world.frame(client, backend);
        world.run(FROM_POD, &direct.build());
        world.run(FROM_POD, &world.frame(client, service).build());
        let (_, out) = world.run(FROM_POD, &direct.build());
        let (mut seen, port) = (client, source_port(&out));
        seen.set_port(port);
        assert_ne!(port, client.port());
        let answer = world.frame(backend, seen);
        let (_, out) = world.run(FROM_POD, &answer.build());
        assert_eq!(answer.between(backend, client).hop(World::to_pod(1)).differs(&out), None);
    });
}

// S49, S59: without a Service nobody ends it.
#[test]
fn a_flow_beside_a_service_outlives_the_service() {
    each(|world| {
        let (client, service, backend) = (world.pod(1, 4000), world.service(1), world.pod(2, 8080));
        world.put(service, &[backend], &[backend], 0);
        world.run(FROM_POD, &world.frame(client, service).build());
        let direct = world.frame(client, backend);
        let (_, first) = world.run(FROM_POD, &direct.build());
        let answer = world.frame(backend, client);
        world.row(
            row("the Service's reply", FROM_POD, &answer)
                .redirects(answer.clone().between(service, client).hop(World::to_pod(1)))
                .counts(ReplyTranslated),
        );
        world.set_backend(1, backend, fairway_common::service::backend_flags::GONE);
        let more = if world.protocol == TCP { direct.flags(tcp::ACK) } else { direct };
        let (_, next) = world.run(FROM_POD, &more.build());
        assert_eq!(source_port(&first), source_port(&next));
    });
}
