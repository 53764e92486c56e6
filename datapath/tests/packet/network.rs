//! Processes of the node, whose packets are first seen where they leave.

use fairway_common::Reason::{ReplyTranslated, ServiceNew};
use fairway_common::conntrack::tcp;

use crate::netns::ETH0;
use crate::table::{FROM_NETWORK, FROM_POD, TO_NETWORK, row};
use crate::tracked::tracks;
use crate::world::{World, each};

#[test]
fn a_process_of_the_node_reaches_a_remote_backend() {
    each(|world| {
        let (node, service, backend) = (world.node(400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let there = world.frame(node, service);
        let back = world.frame(backend, node).flags(tcp::SYN | tcp::ACK);
        world.rows([
            row("there", TO_NETWORK, &there)
                .redirects(there.clone().between(node, backend))
                .counts(ServiceNew),
            row("back", FROM_NETWORK, &back)
                .passes_as(back.clone().between(service, node))
                .counts(ReplyTranslated),
        ]);
        world.expect_tracked(&[tracks((node, service), (node, backend), world.first(), world.first())]);
    });
}

#[test]
fn a_process_of_the_node_reaches_a_pod_of_the_node() {
    each(|world| {
        let (node, service, backend) = (world.node(400), world.service(1), world.pod(1, 8080));
        world.put(service, &[backend], &[], 0);
        let there = world.frame(node, service);
        let back = world.frame(backend, node).flags(tcp::SYN | tcp::ACK);
        world.rows([
            row("there", TO_NETWORK, &there)
                .redirects(there.clone().between(node, backend).link(World::to_pod(1)))
                .counts(ServiceNew),
            row("back", FROM_POD, &back)
                .passes_as(back.clone().between(service, node))
                .counts(ReplyTranslated),
        ]);
    });
}

// S73
#[test]
fn a_process_of_the_node_that_is_its_own_backend_sees_the_service() {
    each(|world| {
        let (node, service, backend) = (world.node(400), world.service(1), world.node(8080));
        let (seen, link) = (world.service(1).ip(), [ETH0, [2, 0, 0, 0, 0, 2]]);
        world.put(service, &[backend], &[], 0);
        let there = world.frame(node, service).link(link);
        let out = world.run(TO_NETWORK, &there.build());
        let seen = (seen, crate::frame::source_port(&out.1)).into();
        assert_eq!(out.0, 7);
        assert_eq!(there.between(seen, backend).link([ETH0, ETH0]).differs(&out.1), None);
        let back = world.frame(backend, seen).flags(tcp::SYN | tcp::ACK).link(link);
        world.row(
            row("back", TO_NETWORK, &back)
                .redirects(back.clone().between(service, node).link([ETH0, ETH0]))
                .counts(ReplyTranslated),
        );
    });
}

#[test]
fn a_service_address_that_is_the_backends_own_passes() {
    each(|world| {
        let (client, node_port) = (world.client(400), world.node(8080));
        world.put(node_port, &[node_port], &[node_port], 0);
        let outside = world.frame(client, node_port);
        let inside = world.frame(world.pod(1, 400), node_port);
        world.rows([row("outside", FROM_NETWORK, outside), row("inside", FROM_POD, inside)]);
        world.expect_tracked(&[]);
    });
}
