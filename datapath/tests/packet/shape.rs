//! Packets of every shape: cut short, contradicting themselves, with options, in fragments.

use fairway_common::Reason::{Malformed, ReplyTranslated, ServiceNew, Translated};
use fairway_common::{TCP, UDP};

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
        let frame = world.frame(world.pod(1, 400), service);
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
        let frame = world.frame(world.pod(1, 400), world.remote(1, 80));
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
        let frame = world.frame(world.pod(1, 400), world.remote(1, 80)).extra(Extra::Options);
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

// S87: lengths that contradict what came, for everybody.
#[test]
fn a_length_that_contradicts_the_packet_is_dropped() {
    each(|world| {
        world.put(world.service(1), &[world.remote(1, 8080)], &[world.remote(1, 8080)], 0);
        let frame = world.frame(world.pod(1, 400), world.service(1));
        let bytes = frame.build();
        let (length, whole) = if world.v4 {
            (ETHERNET + 2, bytes.len() - ETHERNET)
        } else {
            (ETHERNET + 4, bytes.len() - ETHERNET - 40)
        };
        let with = |at: usize, value: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + value.len()].copy_from_slice(value);
            bytes
        };
        let mut wrong = vec![with(length, &(whole as u16 + 1).to_be_bytes()), with(length, &[255, 255])];
        if world.v4 {
            wrong.extend([with(length, &[0, 19]), with(length, &[0, 0])]);
        }
        let transport = frame.transport();
        if world.protocol == TCP {
            // The data offset, in words.
            wrong.extend((0..5).map(|words| with(transport + 12, &[words << 4])));
        } else {
            wrong.extend((0..8).map(|length| with(transport + 4, &[0, length])));
        }
        for bytes in wrong {
            for hook in HOOKS {
                world.row(raw("contradicts itself", hook, bytes.clone()).drops(Malformed));
            }
        }
        world.expect_tracked(&[]);
    });
}

// S87
#[test]
fn packets_with_options_are_translated() {
    each(|world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
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
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
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

// S86
#[test]
fn packets_of_any_size_are_translated_whole() {
    each_family(UDP, |world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.remote(1, 8080));
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
