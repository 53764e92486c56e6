//! Clients outside that reach Services by this node.

use fairway_common::Reason::{
    NoBackend, NoLocalBackend, ReplyTranslated, ServiceNew, SourceTranslated, Translated,
};
use fairway_common::conntrack::tcp;
use fairway_common::service::Frontend;

use crate::frame::source_port;
use crate::netns::{CLIENT, ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, NAT_PORT, TO_NETWORK, row};
use crate::tracked::tracks;
use crate::world::{World, each};

// S28
#[test]
fn a_client_outside_reaches_a_local_backend_with_its_own_address() {
    each(|world| {
        let (client, node_port, backend) = (world.client(400), world.node(30080), world.pod(1, 8080));
        world.put(node_port, &[], &[backend], Frontend::KEEP_CLIENT);
        let there = world.frame(client, node_port);
        let back = world.frame(backend, client).flags(tcp::SYN | tcp::ACK);
        world.rows([
            row("first", FROM_NETWORK, &there)
                .redirects(there.clone().between(client, backend).hop(World::to_pod(1)))
                .counts(ServiceNew),
            row("reply", FROM_POD, &back)
                .redirects(back.clone().between(node_port, client).hop([ETH0, CLIENT]))
                .counts(ReplyTranslated),
            row("again", FROM_NETWORK, &there)
                .redirects(there.clone().between(client, backend).hop(World::to_pod(1)))
                .counts(Translated),
        ]);
        world.expect_tracked(&[tracks((client, node_port), (client, backend), world.first(), world.first())]);
    });
}

// S29
#[test]
fn a_client_outside_reaches_a_remote_backend_through_the_node_and_back() {
    each(|world| {
        let (client, node_port, backend) = (world.client(400), world.node(30080), world.remote(1, 8080));
        world.put(node_port, &[], &[backend], 0);
        let there = world.frame(client, node_port);
        let node = world.node(NAT_PORT);
        let sent = |port| there.clone().between((node.ip(), port).into(), backend).hop([ETH0, NODE2]);
        let out =
            world.row(row("first", FROM_NETWORK, &there).redirects(sent(NAT_PORT)).counts(SourceTranslated));
        let node = world.node(source_port(&out));
        let back = world.frame(backend, node).flags(tcp::SYN | tcp::ACK);
        world.rows([
            row("reply", FROM_NETWORK, &back)
                .redirects(back.clone().between(node_port, client).hop([ETH0, CLIENT]))
                .counts(ReplyTranslated),
            row("again", FROM_NETWORK, &there).redirects(sent(node.port())).counts(Translated),
        ]);
        world.expect_tracked(&[tracks((client, node_port), (node, backend), world.first(), world.first())]);
    });
}

#[test]
fn clients_inside_and_outside_have_backends_of_their_own() {
    each(|world| {
        let service = world.service(1);
        world.put(service, &[world.pod(2, 8080)], &[world.pod(1, 8080)], 0);
        let inside = world.frame(world.pod(1, 400), service);
        let outside = world.frame(world.client(400), service);
        world.rows([
            row("inside", FROM_POD, &inside)
                .redirects(inside.clone().between(inside.source, world.pod(2, 8080)).hop(World::to_pod(2)))
                .counts(ServiceNew),
            row("outside", FROM_NETWORK, &outside)
                .redirects(outside.clone().between(outside.source, world.pod(1, 8080)).hop(World::to_pod(1)))
                .counts(ServiceNew),
        ]);
    });
}

// S23, S24
#[test]
fn a_local_policy_without_local_endpoint_drops() {
    each(|world| {
        let (one, two) = (world.service(1), world.service(2));
        world.put(one, &[], &[], Frontend::INSIDE_DROPS);
        world.put(two, &[], &[], Frontend::OUTSIDE_DROPS);
        let from = |world: &World, client, service| world.frame(client, service);
        let (pod, client, node) = (world.pod(1, 400), world.client(400), world.node(400));
        world.rows([
            row("inside", FROM_POD, from(world, pod, one)).drops(NoLocalBackend),
            row("inside, from the node", TO_NETWORK, from(world, node, one)).drops(NoLocalBackend),
            row("outside", FROM_NETWORK, from(world, client, two)).drops(NoLocalBackend),
        ]);
        for (name, hook, client, service) in
            [("outside of one", FROM_NETWORK, client, one), ("inside of two", FROM_POD, pod, two)]
        {
            let frame = world.frame(client, service).flags(tcp::RST);
            if world.protocol == fairway_common::TCP {
                world.row(row(name, hook, frame).drops(NoBackend));
            }
        }
        world.expect_tracked(&[]);
    });
}
