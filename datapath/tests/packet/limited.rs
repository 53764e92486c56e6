//! Pods whose device on the node's side limits what they receive: packets for them are seen there once more.

use fairway_common::Reason::{FragmentTranslated, ReplyTranslated, ServiceNew};
use fairway_common::conntrack::tcp;

use crate::frame::{Body, Extra};
use crate::table::{FROM_NETWORK, FROM_POD, TO_POD, row};
use crate::tracked::tracks;
use crate::world::{World, each, each_family};

#[test]
fn what_was_translated_is_left_alone_and_not_counted_where_it_is_limited() {
    each(|world| {
        world.put_pod_that_is(1, true);
        world.put_pod_that_is(2, true);
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.pod(2, 8080));
        world.put(service, &[backend], &[], 0);
        let there = world.frame(pod, service);
        let at_backend = there.clone().between(pod, backend).hop(World::to_pod(2));
        let back = world.frame(backend, pod).flags(tcp::SYN | tcp::ACK);
        let at_client = back.clone().between(service, pod).hop(World::to_pod(1));
        world.rows([
            row("there", FROM_POD, &there).redirects(at_backend.clone()).counts(ServiceNew),
            row("there, at the backend's device", TO_POD, &at_backend),
            row("back", FROM_POD, &back).redirects(at_client.clone()).counts(ReplyTranslated),
            row("back, at the client's device", TO_POD, &at_client),
        ]);
        world.expect_tracked(&[tracks((pod, service), (pod, backend), world.first(), world.first())]);
        let plain = world.frame(world.client(400), world.pod(2, 9));
        let at_pod = plain.clone().hop(World::to_pod(2));
        world.rows([
            row("plain", FROM_NETWORK, &plain).redirects(at_pod.clone()),
            row("plain, at the pod's device", TO_POD, &at_pod),
        ]);
        world.put_pod_that_is(1, false);
        world.put_pod_that_is(2, false);
    });
}

#[test]
fn later_fragments_are_translated_once_on_their_way_to_a_limited_pod() {
    each_family(fairway_common::UDP, |world| {
        world.put_pod_that_is(2, true);
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.pod(2, 8080));
        world.put(service, &[backend], &[], 0);
        let first = world.frame(pod, service);
        let body = Body::Other(fairway_common::UDP);
        let later = first.clone().extra(Extra::Fragment { offset: 9, more: false }).body(body);
        let first = first.extra(Extra::Fragment { offset: 0, more: true });
        for (frame, reason) in [(first, ServiceNew), (later.payload(&[7; 64]), FragmentTranslated)] {
            let there = frame.clone().between(pod, backend).hop(World::to_pod(2));
            world.rows([
                row("there", FROM_POD, &frame).redirects(there.clone()).counts(reason),
                row("there, at the backend's device", TO_POD, &there),
            ]);
        }
        world.put_pod_that_is(2, false);
    });
}
