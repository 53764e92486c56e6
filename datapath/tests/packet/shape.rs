//! Packets of every shape: cut short, contradicting themselves, with options, in fragments.

use fairway_common::Reason::{Fragment, Malformed, ReplyTranslated, ServiceNew, Translated};
use fairway_common::UDP;

use crate::frame::{ETHERNET, Extra};
use crate::netns::{ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, TO_NETWORK, TO_POD, raw, row};
use crate::world::{World, each, each_family};

const HOOKS: [&str; 4] = [FROM_POD, TO_POD, FROM_NETWORK, TO_NETWORK];

// S87
#[test]
fn a_packet_that_ends_within_its_headers_is_dropped() {
    each(|world| {
        let service = world.service(1);
        world.put(service, &[world.remote(1, 8080)], &[], 0);
        let frame = world.frame(world.pod(1, 4000), service);
        let bytes = frame.build();
        let needed = bytes.len();
        // The kernel gives test runs no packet without an IP header.
        for length in frame.transport()..needed {
            for hook in HOOKS {
                world.row(raw("cut short", hook, bytes[..length].to_vec()).drops(Malformed));
            }
        }
        world.expect_tracked(&[]);
    });
}

// S87
#[test]
fn a_header_that_contradicts_itself_is_dropped() {
    each(|world| {
        let frame = world.frame(world.pod(1, 4000), world.remote(1, 80));
        let with = |byte: u8| {
            let mut bytes = frame.build();
            bytes[ETHERNET] = byte;
            bytes
        };
        for hook in HOOKS {
            if world.v4 {
                for length in 0..5 {
                    world.row(
                        raw("a header shorter than a header", hook, with(0x40 | length)).drops(Malformed),
                    );
                }
                world.row(raw("longer than the packet", hook, with(0x4f)).drops(Malformed));
                world.row(raw("the wrong version", hook, with(0x65)).drops(Malformed));
            } else {
                world.row(raw("the wrong version", hook, with(0x45)).drops(Malformed));
                world.row(raw("no version", hook, with(0)).drops(Malformed));
            }
        }
    });
}

// S87
#[test]
fn an_extension_header_cut_short_is_dropped() {
    each(|world| {
        if world.v4 {
            return;
        }
        let frame = world.frame(world.pod(1, 4000), world.remote(1, 80)).extra(Extra::Options);
        let bytes = frame.build();
        let extension = ETHERNET + 40;
        for length in extension..extension + 12 {
            world.row(raw("cut", FROM_POD, bytes[..length].to_vec()).drops(Malformed));
        }
        let mut long = bytes;
        for units in [2, 3, 127, 255] {
            long[extension + 1] = units;
            world.row(raw("longer than the packet", FROM_POD, long.clone()).drops(Malformed));
        }
    });
}

// S87
#[test]
fn packets_with_options_are_translated() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let there = world.frame(pod, service).extra(Extra::Options);
        let back = world.frame(backend, pod).extra(Extra::Options);
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

// S87
#[test]
fn ports_behind_many_extension_headers_are_found() {
    each(|world| {
        if world.v4 {
            return;
        }
        let (pod, service, backend) = (world.pod(1, 4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let plain = world.frame(pod, service).build();
        // Destination options of 24 bytes, routing, authentication of 12 bytes, destination options.
        let chain = [(60, 24, 2), (43, 8, 0), (51, 12, 1), (60, 8, 0)];
        let mut bytes = plain[..ETHERNET + 40].to_vec();
        bytes[ETHERNET + 6] = chain[0].0;
        for (index, (_, size, length)) in chain.iter().enumerate() {
            let mut header = vec![0; *size];
            header[0] = chain.get(index + 1).map_or(world.protocol, |next| next.0);
            header[1] = *length;
            bytes.extend(header);
        }
        let payload = (bytes.len() + plain.len() - 2 * (ETHERNET + 40)) as u16;
        bytes[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&payload.to_be_bytes());
        bytes.extend(&plain[ETHERNET + 40..]);
        let (verdict, out) = world.run(FROM_POD, &bytes);
        assert_eq!(verdict, 7);
        let (start, end) = (ETHERNET + 40, bytes.len() - plain.len() + ETHERNET + 40);
        assert_eq!(out[start..end], bytes[start..end], "the extension headers");
        let translated = world.frame(pod, backend).build();
        assert_eq!(out[end..], translated[start..], "the transport header");
        assert_eq!(world.tracked().len(), 2);
    });
}

// S85
#[test]
fn a_fragment_with_ports_towards_a_service_is_dropped_and_later_ones_are_left_alone() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[backend], 0);
        let first = world.frame(pod, service).extra(Extra::Fragment { offset: 0, more: true });
        let later = first.clone().extra(Extra::Fragment { offset: 5, more: true });
        let last = first.clone().extra(Extra::Fragment { offset: 9, more: false });
        for hook in [FROM_POD, FROM_NETWORK, TO_NETWORK] {
            world.rows([
                row("first", hook, &first).drops(Fragment),
                row("later", hook, &later),
                row("last", hook, &last),
            ]);
        }
        world.expect_tracked(&[]);
        world.run(FROM_POD, &world.frame(pod, service).build());
        world.rows([
            row("first of a known connection", FROM_POD, &first).drops(Fragment),
            row("later of a known connection", FROM_POD, &later),
        ]);
    });
}

// S85
#[test]
fn fragments_between_pods_are_delivered() {
    each(|world| {
        let frame = world.frame(world.pod(1, 4000), world.pod(2, 8080));
        for (offset, more) in [(0, true), (5, true), (9, false)] {
            let frame = frame.clone().extra(Extra::Fragment { offset, more });
            world.row(row("a fragment", FROM_POD, &frame).redirects(frame.clone().hop(World::to_pod(2))));
        }
    });
}

// S86
#[test]
fn packets_of_any_size_are_translated_whole() {
    each_family(UDP, |world| {
        let (pod, service, backend) = (world.pod(1, 4000), world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        for (size, reason) in [(0, ServiceNew), (1, Translated), (1399, Translated)] {
            let frame = world.frame(pod, service).payload(&vec![0xab; size]);
            world.row(
                row("a packet", FROM_POD, &frame)
                    .redirects(frame.clone().between(pod, backend).hop([ETH0, NODE2]))
                    .counts(reason),
            );
        }
    });
}
