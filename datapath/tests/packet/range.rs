//! Addresses of the Services' range that no frontend is for.

use fairway_common::Reason::{UnallocatedAddress, UndefinedPort};
use fairway_common::conntrack::tcp;
use fairway_common::service::Frontend;
use fairway_common::{TCP, UDP};
use fairway_datapath::table::{FrontendKey, Op, Tables};

use crate::frame::{Body, ETHERNET};
use crate::table::{FROM_NETWORK, FROM_POD, TO_NETWORK, TO_POD, row};
use crate::world::World;

const HOOKS: [&str; 3] = [FROM_POD, FROM_NETWORK, TO_NETWORK];

fn world() -> World {
    World::load_with(|options| {
        options.service_ranges = vec!["10.96.0.0/16".parse().unwrap(), "fd00:10:96::/108".parse().unwrap()];
    })
    .unwrap()
}

/// Runs a table on a world that knows the range.
fn each(test: impl Fn(&mut World)) {
    let mut world = world();
    for (v4, protocol) in [(true, TCP), (true, UDP), (false, TCP), (false, UDP)] {
        world.begin(v4, protocol);
        let service = world.service(1);
        world.put(service, &[world.remote(1, 8080)], &[world.remote(1, 8080)], 0);
        let key = FrontendKey { address: service.ip(), protocol: 0, port: 0 };
        let value = Frontend { service: 7, flags: Frontend::ADDRESS, ..Frontend::default() };
        world.datapath.apply(&Op::PutFrontend { key, value }).unwrap();
        test(&mut world);
        world.datapath.apply(&Op::DeleteFrontend { key }).unwrap();
    }
}

// S35
#[test]
fn a_port_that_the_service_does_not_have_is_refused() {
    each(|world| {
        let mut other = world.service(1);
        other.set_port(81);
        let frame = world.frame(world.pod(1, 400), other);
        let [sender, receiver] = frame.link;
        let answer = world.frame(other, frame.source).link([receiver, sender]).id(0);
        let answer = if world.protocol == TCP {
            let body = Body::Tcp { flags: tcp::RST | tcp::ACK, sequence: 0, acknowledgment: 1008 };
            answer.body(body).payload(&[])
        } else {
            answer.body(Body::Unreachable).payload(&frame.build()[ETHERNET..frame.transport() + 8])
        };
        for hook in HOOKS {
            world.row(row("another port", hook, &frame).redirects(answer.clone()).counts(UndefinedPort));
        }
        world.expect_tracked(&[]);
    });
}

// S35
#[test]
fn an_address_of_the_range_that_no_service_has_is_a_dead_end() {
    each(|world| {
        let frame = world.frame(world.pod(1, 400), world.service(9));
        for hook in HOOKS {
            world.row(row("unallocated", hook, &frame).drops(UnallocatedAddress));
        }
        world.expect_tracked(&[]);
    });
}

// S37, S92: neither is answered, and neither leaves the node.
#[test]
fn other_protocols_to_the_range_are_dropped() {
    each(|world| {
        for (name, body) in [("ping", Body::Echo), ("SCTP", Body::Other(132))] {
            for service in [world.service(1), world.service(9)] {
                let frame = world.frame(world.pod(1, 400), service).body(body);
                for hook in HOOKS {
                    world.row(row(name, hook, &frame).drops(UnallocatedAddress));
                }
            }
            let pod = world.frame(world.pod(1, 400), world.pod(2, 80)).body(body);
            world.row(row("to a pod", FROM_POD, &pod).redirects(pod.clone().hop(World::to_pod(2))));
        }
    });
}

// S36
#[test]
fn addresses_beyond_the_range_are_left_alone() {
    each(|world| {
        let (balancer, backend) = (world.unheard(80), world.remote(1, 8080));
        world.put(balancer, &[backend], &[backend], 0);
        let mut other = balancer;
        other.set_port(81);
        for hook in HOOKS {
            let sender = if hook == FROM_POD { world.pod(1, 400) } else { world.client(400) };
            let frame = world.frame(sender, other);
            world.row(row("another port of a load balancer", hook, frame));
            let ping = world.frame(sender, balancer).body(Body::Echo);
            world.row(row("ping", hook, ping));
        }
        let frame = world.frame(world.client(400), world.service(9));
        world.row(row("what the node's stack sends to a pod", TO_POD, frame));
    });
}
