//! Answers for Services without endpoints.

use fairway_common::Reason::{Malformed, NoBackend};
use fairway_common::conntrack::tcp;
use fairway_common::{TCP, UDP};

use crate::frame::{Body, ETHERNET, Extra};
use crate::table::{FROM_NETWORK, FROM_POD, TO_NETWORK, TO_POD, raw, row};
use crate::world::{each, each_family};

const HOOKS: [&str; 3] = [FROM_POD, FROM_NETWORK, TO_NETWORK];

// S31
#[test]
fn tcp_to_a_service_without_endpoint_is_reset() {
    each_family(TCP, |world| {
        let (client, service) = (world.pod(1, 400), world.service(1));
        world.put(service, &[], &[], 0);
        // What comes (flags, bytes of data), and what is answered (flags, sequence, acknowledgment).
        let reset = tcp::RST | tcp::ACK;
        let table = [
            ("SYN", tcp::SYN, 0, (reset, 0, 1001)),
            ("SYN with data", tcp::SYN, 5, (reset, 0, 1006)),
            ("ACK in the middle", tcp::ACK, 0, (tcp::RST, 2000, 0)),
            ("data in the middle", tcp::ACK, 7, (tcp::RST, 2000, 0)),
            ("SYN with ACK", tcp::SYN | tcp::ACK, 0, (tcp::RST, 2000, 0)),
            ("FIN", tcp::FIN | tcp::ACK, 0, (tcp::RST, 2000, 0)),
            ("FIN without ACK", tcp::FIN, 3, (reset, 0, 1004)),
            ("data without ACK", 0, 2000, (reset, 0, 3000)),
        ];
        for (name, flags, data, (answer, sequence, acknowledgment)) in table {
            let frame = world.frame(client, service).flags(flags).payload(&vec![1; data]);
            let [sender, receiver] = frame.link;
            let refusal = (world.frame(service, client))
                .link([receiver, sender])
                .id(0)
                .body(Body::Tcp { flags: answer, sequence, acknowledgment })
                .payload(&[]);
            for hook in HOOKS {
                world.row(row(name, hook, &frame).redirects(refusal.clone()).counts(NoBackend));
            }
        }
        world.expect_tracked(&[]);
    });
}

// S34: an answer goes in by the pod's own device.
#[test]
fn an_answer_of_fairways_own_passes_the_program_in_front_of_the_pod() {
    each(|world| {
        let (client, service) = (world.pod(1, 400), world.service(1));
        // A connection that was translated before, whose Service has lost its endpoints, and a new one.
        world.put(service, &[world.pod(2, 8080)], &[], 0);
        world.run(FROM_POD, &world.frame(client, service).build());
        world.put(service, &[], &[], 0);
        for port in [401, 402] {
            let (verdict, answer) = world.run(FROM_POD, &world.frame(world.pod(1, port), service).build());
            assert_eq!(verdict, 7, "sent back");
            let before = answer.clone();
            let device = world.devices[1];
            assert_eq!(world.run_at(TO_POD, device, &answer), (-1, before), "untouched, and left alone");
        }
    });
}

// S32
#[test]
fn udp_to_a_service_without_endpoint_gets_port_unreachable_that_quotes_it() {
    each_family(UDP, |world| {
        let (client, service) = (world.pod(1, 400), world.service(1));
        world.put(service, &[], &[], 0);
        for size in [0, 1, 7, 1400] {
            let frame = world.frame(client, service).payload(&vec![1; size]);
            let [sender, receiver] = frame.link;
            let quoted = if world.v4 { 28 } else { 48 };
            let answer = (world.frame(service, client))
                .link([receiver, sender])
                .id(0)
                .body(Body::Unreachable)
                .payload(&frame.build()[ETHERNET..ETHERNET + quoted]);
            for hook in HOOKS {
                world.row(row("a datagram", hook, &frame).redirects(answer.clone()).counts(NoBackend));
            }
        }
        world.expect_tracked(&[]);
    });
}

#[test]
fn a_reset_gets_no_answer() {
    each_family(TCP, |world| {
        let (client, service) = (world.pod(1, 400), world.service(1));
        world.put(service, &[], &[], 0);
        let frame = world.frame(client, service);
        world.row(row("a reset", FROM_POD, frame.flags(tcp::RST)).drops(NoBackend));
    });
}

// S31, S32: also behind IP options.
#[test]
fn a_packet_with_options_is_refused_too() {
    each(|world| {
        let (client, service) = (world.pod(1, 400), world.service(1));
        world.put(service, &[], &[], 0);
        let frame = world.frame(client, service).extra(Extra::Options);
        let [sender, receiver] = frame.link;
        let answer = world.frame(service, client).link([receiver, sender]).id(0);
        let answer = if world.protocol == TCP {
            // One byte for the SYN, seven of data.
            let body = Body::Tcp { flags: tcp::RST | tcp::ACK, sequence: 0, acknowledgment: 1008 };
            answer.body(body).payload(&[])
        } else {
            let quoted = frame.transport() + 8;
            answer.body(Body::Unreachable).payload(&frame.build()[ETHERNET..quoted])
        };
        world.row(row("options", FROM_POD, &frame).redirects(answer).counts(NoBackend));
    });
}

#[test]
fn a_cut_tcp_header_to_a_service_without_endpoint_gets_no_answer() {
    each_family(TCP, |world| {
        let service = world.service(1);
        world.put(service, &[], &[], 0);
        let frame = world.frame(world.pod(1, 400), service);
        let bytes = frame.build();
        for length in 14..20 {
            let cut = bytes[..frame.transport() + length].to_vec();
            world.row(raw("cut", FROM_POD, cut).drops(Malformed));
        }
    });
}
