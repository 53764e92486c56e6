//! What conntrack remembers of a connection, and when it starts anew.

use fairway_common::TCP;
use fairway_common::conntrack::{flags, tcp};

use crate::table::{FROM_NETWORK, FROM_POD, row};
use crate::tracked::tracks;
use crate::world::{World, each, each_family};

/// A step of a connection: who speaks, the TCP flags.
#[derive(Clone, Copy)]
enum Step {
    Client(u8),
    Server(u8),
}
use Step::{Client, Server};

fn speak(world: &mut World, steps: &[Step]) {
    let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
    for step in steps {
        let (hook, frame) = match step {
            Client(flags) => (FROM_POD, world.frame(pod, service).flags(*flags)),
            Server(flags) => (FROM_NETWORK, world.frame(backend, pod).flags(*flags)),
        };
        assert_eq!(world.run(hook, &frame.build()).0, 7);
    }
}

const OPEN: [Step; 3] = [Client(tcp::SYN), Server(tcp::SYN | tcp::ACK), Client(tcp::ACK)];
const CLOSE: [Step; 3] = [Client(tcp::FIN | tcp::ACK), Server(tcp::FIN | tcp::ACK), Client(tcp::ACK)];
const BOTH: u32 = flags::SYN | flags::DATA;

#[test]
fn each_direction_remembers_what_it_has_seen() {
    each_family(TCP, |world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        let table: [(&[Step], u32, u32); 6] = [
            (&OPEN[..1], flags::SYN, 0),
            (&OPEN[..2], flags::SYN, flags::SYN),
            (&OPEN, BOTH, flags::SYN),
            (&[Client(tcp::FIN | tcp::ACK)], flags::FIN | flags::DATA, 0),
            (&[Client(tcp::SYN), Server(tcp::RST | tcp::ACK)], flags::SYN, flags::RST | flags::DATA),
            (&[Client(tcp::SYN), Client(tcp::RST)], flags::SYN | flags::RST | flags::DATA, 0),
        ];
        for (steps, original, reply) in table {
            world.begin(world.v4, world.protocol);
            world.put(service, &[backend], &[], 0);
            speak(world, steps);
            world.expect_tracked(&[tracks((pod, service), (pod, backend), original, reply)]);
        }
        world.begin(world.v4, world.protocol);
        world.put(service, &[backend], &[], 0);
        speak(world, &OPEN);
        speak(world, &CLOSE);
        let reply = flags::SYN | flags::FIN | flags::DATA;
        world.expect_tracked(&[tracks((pod, service), (pod, backend), BOTH | flags::FIN, reply)]);
    });
}

// S45
#[test]
fn a_syn_on_an_ended_connection_makes_a_new_one() {
    each_family(TCP, |world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let ends: [&[Step]; 4] =
            [&CLOSE, &[Client(tcp::RST)], &[Server(tcp::RST | tcp::ACK)], &[Server(tcp::FIN | tcp::ACK)]];
        for end in ends {
            speak(world, &OPEN);
            speak(world, end);
            speak(world, &OPEN[..1]);
            world.expect_tracked(&[tracks((pod, service), (pod, backend), flags::SYN, 0)]);
        }
    });
}

// S45
#[test]
fn a_new_connection_from_the_same_port_may_choose_another_backend() {
    each_family(TCP, |world| {
        let (pod, service) = (world.pod(1, 400), world.service(1));
        world.put(service, &[world.remote(1, 8080)], &[], 0);
        speak(world, &OPEN);
        speak(world, &CLOSE);
        let other = world.remote(2, 8080);
        world.put(service, &[other], &[], 0);
        let late = world.frame(pod, service).flags(tcp::ACK);
        let (_, out) = world.run(FROM_POD, &late.build());
        assert!(world.tracked().iter().all(|track| track.to.1 != other), "S48: late packets stay");
        assert!(!out.is_empty());
        speak(world, &OPEN[..1]);
        assert!(world.tracked().contains(&tracks((pod, service), (pod, other), flags::SYN, 0)[0]));
    });
}

// S41
#[test]
fn an_established_connection_outlives_its_service() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        speak(world, &OPEN);
        world.put(service, &[], &[], 0);
        speak(world, &[Client(tcp::ACK), Server(tcp::ACK)]);
        let data = if world.protocol == TCP { BOTH } else { flags::DATA };
        world.expect_tracked(&[tracks((pod, service), (pod, backend), data, data)]);
    });
}

#[test]
fn packets_between_pods_are_looked_up_only_after_a_pod_used_a_service() {
    each(|world| {
        // An entry that nobody's packets made must not be found as long as the pod is marked as plain.
        let (pod, other, service) = (world.pod(1, 400), world.pod(2, 8080), world.service(1));
        let back = world.frame(other, pod);
        world.row(row("plain", FROM_POD, &back).redirects(back.clone().hop(World::to_pod(1))));
        world.put(service, &[other], &[], 0);
        world.run(FROM_POD, &world.frame(pod, service).build());
        world.row(
            row("a reply", FROM_POD, &back)
                .redirects(back.clone().between(service, pod).hop(World::to_pod(1)))
                .counts(fairway_common::Reason::ReplyTranslated),
        );
        // The agent writes its pods again when it starts.
        world.put_pod(1);
        world.row(
            row("a reply after the pod was written again", FROM_POD, &back)
                .redirects(back.clone().between(service, pod).hop(World::to_pod(1)))
                .counts(fairway_common::Reason::ReplyTranslated),
        );
    });
}
