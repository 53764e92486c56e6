//! Which backend a client gets, and which clients are let in.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use fairway_common::Reason::{ServiceNew, SourceNotAllowed, SourceTranslated};
use fairway_common::affinity::Choice;
use fairway_common::conntrack::tcp;
use fairway_common::service::Frontend;
use fairway_common::service::backend_flags::{DRAINING, GONE};
use fairway_datapath::table::{Op, Range, Tables};

use crate::netns::{ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, NAT_PORT, row};
use crate::world::{World, each};

const SECONDS: u32 = 100;

/// The backend of a new connection.
fn picked(world: &mut World, hook: &'static str, client: SocketAddr, service: SocketAddr) -> SocketAddr {
    world.run(hook, &world.frame(client, service).build());
    let track = world.tracked().into_iter().find(|track| track.key == (client, service));
    track.expect("a new connection is tracked").to.1
}

/// A Service of sixteen backends with affinity, and their ids.
fn sticky(world: &mut World, affinity: u32, flags: u32) -> Vec<(u32, SocketAddr)> {
    let backends: Vec<_> = (1..=16).map(|n| world.remote(n, 8080)).collect();
    let run = world.put_run(&backends);
    let service = world.id;
    let value = Frontend { inside: run, outside: run, service, flags, affinity, pad: 0 };
    world.put_frontend(world.service(1), value);
    (run.first..).zip(backends).collect()
}

fn many(world: &mut World, client: SocketAddr, ports: std::ops::Range<u16>) -> BTreeSet<SocketAddr> {
    let service = world.service(1);
    ports.map(|port| picked(world, FROM_POD, SocketAddr::new(client.ip(), port), service)).collect()
}

// S63, S70, S71
#[test]
fn a_client_keeps_its_backend_and_others_get_their_own() {
    each(|world| {
        sticky(world, SECONDS, 0);
        let one = many(world, world.pod(1, 0), 400..430);
        assert_eq!(one.len(), 1, "one client, one backend");
        let service = world.service(1);
        let others: BTreeSet<_> = (0..30)
            .map(|n| {
                let client = SocketAddr::new(world.remote(100 + n, 0).ip(), 400);
                picked(world, FROM_NETWORK, client, service)
            })
            .collect();
        assert!(others.len() > 3, "{others:?}");
        assert_eq!(many(world, world.pod(1, 0), 430..440), one);
    });
}

// S66
#[test]
fn affinity_is_turned_on_and_off_while_clients_come() {
    each(|world| {
        sticky(world, 0, 0);
        assert!(many(world, world.pod(1, 0), 400..430).len() > 3);
        sticky(world, SECONDS, 0);
        assert_eq!(many(world, world.pod(1, 0), 4100..4130).len(), 1);
        sticky(world, 0, 0);
        assert!(many(world, world.pod(1, 0), 4200..4230).len() > 3);
    });
}

/// Lets all choices be older, in ticks of 1.07 s.
fn age(world: &mut World, ticks: u32) {
    let choices: Vec<_> = world.affinity.iter().map(|choice| choice.unwrap()).collect();
    for (key, choice) in choices {
        let since = choice.since.wrapping_sub(ticks);
        world.affinity.insert(key, Choice { since, ..choice }, 0).unwrap();
    }
}

// S64, S65
#[test]
fn a_choice_is_forgotten_after_its_time_and_kept_by_new_connections_only() {
    each(|world| {
        sticky(world, SECONDS, 0);
        let first = many(world, world.pod(1, 0), 400..401);
        // Each new connection starts the time anew; the packets of an old one do not.
        for port in 401..405 {
            age(world, SECONDS * 6 / 10);
            assert_eq!(many(world, world.pod(1, 0), port..port + 1), first, "refreshed");
        }
        let mut seen = BTreeSet::new();
        for port in 4100..4130 {
            age(world, SECONDS * 6 / 10);
            let old = world.frame(world.pod(1, 400), world.service(1)).flags(tcp::ACK);
            world.run(FROM_POD, &old.build());
            age(world, SECONDS * 6 / 10);
            seen.extend(many(world, world.pod(1, 0), port..port + 1));
        }
        assert!(seen.len() > 3, "{seen:?}");
    });
}

// S67
#[test]
fn a_client_whose_backend_is_no_longer_usable_gets_another_and_stays_there() {
    each(|world| {
        for flags in [GONE, DRAINING] {
            world.begin(world.v4, world.protocol);
            let backends = sticky(world, SECONDS, 0);
            let first = *many(world, world.pod(1, 0), 400..410).first().unwrap();
            let (id, _) = *backends.iter().find(|(_, backend)| *backend == first).unwrap();
            world.set_backend(id, first, flags);
            let rest: Vec<_> =
                backends.iter().map(|(_, backend)| *backend).filter(|backend| *backend != first).collect();
            let run = world.put_run(&rest);
            let service = world.id;
            let value = Frontend { inside: run, service, affinity: SECONDS, ..Frontend::default() };
            world.put_frontend(world.service(1), value);
            let next = many(world, world.pod(1, 0), 4100..4130);
            assert_eq!(next.len(), 1);
            assert!(!next.contains(&first));
        }
    });
}

// S71
#[test]
fn a_hashed_pick_is_the_same_for_the_same_client_and_spreads_over_clients() {
    each(|world| {
        sticky(world, 0, Frontend::HASHED);
        let first = many(world, world.pod(1, 0), 400..401);
        let spread = many(world, world.pod(1, 0), 401..440);
        assert!(spread.len() > 8, "{spread:?}");
        world.begin(world.v4, world.protocol);
        sticky(world, 0, Frontend::HASHED);
        assert_eq!(many(world, world.pod(1, 0), 400..401), first, "without any memory of it");
        // With affinity the port is left out: another node picks the same backend, too.
        let mut picks = BTreeSet::new();
        for port in 400..420 {
            world.begin(world.v4, world.protocol);
            sticky(world, SECONDS, Frontend::HASHED);
            picks.extend(many(world, world.pod(1, 0), port..port + 1));
        }
        assert_eq!(picks.len(), 1);
    });
}

// S39
#[test]
fn only_clients_in_the_source_ranges_are_let_in() {
    each(|world| {
        let (service, backend) = (world.service(1), world.pod(2, 8080));
        let ranges = if world.v4 {
            ["192.168.50.8/30", "10.200.1.1/32"]
        } else {
            ["fd00:50::8/126", "fd00:10:200:1::1/128"]
        };
        let ranges = ranges.map(|range| Range { service: 7, clients: range.parse().unwrap() });
        for range in ranges {
            world.datapath.apply(&Op::PutRange { range }).unwrap();
        }
        world.put(service, &[backend], &[backend], Frontend::RANGES);
        let node_port = world.node(30080);
        world.put(node_port, &[backend], &[backend], 0);
        let passes = |world: &World, name, hook, client: SocketAddr, to| {
            let frame = world.frame(client, to);
            row(name, hook, &frame)
                .redirects(frame.clone().between(client, backend).hop(World::to_pod(2)))
                .counts(ServiceNew)
        };
        let outside = world.remote(1, 400);
        world.rows([
            passes(world, "in a range", FROM_NETWORK, world.client(400), service),
            passes(world, "a pod in a range", FROM_POD, world.pod(1, 400), service),
            row("outside of all", FROM_NETWORK, world.frame(outside, service)).drops(SourceNotAllowed),
            row("a pod outside of all", FROM_POD, world.frame(world.pod(2, 400), service))
                .drops(SourceNotAllowed),
            passes(world, "the node port has none", FROM_NETWORK, outside, node_port),
        ]);
        for range in ranges {
            world.datapath.apply(&Op::DeleteRange { range }).unwrap();
        }
        world.row(
            row("the ranges are gone", FROM_NETWORK, world.frame(world.client(401), service))
                .drops(SourceNotAllowed),
        );
    });
}

// S21
#[test]
fn with_masquerade_all_every_connection_comes_from_the_node() {
    let mut world = World::load_with(|options| options.masquerade_all = true).unwrap();
    for (v4, protocol) in [(true, 6), (true, 17), (false, 6), (false, 17)] {
        world.begin(v4, protocol);
        let (service, node) = (world.service(1), world.node(NAT_PORT));
        for (backend, link) in
            [(world.remote(1, 8080), [ETH0, NODE2]), (world.pod(2, 8080), World::to_pod(2))]
        {
            world.put(service, &[backend], &[backend], 0);
            for (hook, client) in [
                (FROM_POD, world.pod(1, backend.port() + u16::from(link[1][4]))),
                (FROM_NETWORK, world.client(400 + u16::from(link[1][4]))),
            ] {
                let frame = world.frame(client, service);
                world.row(
                    row("a connection", hook, &frame)
                        .redirects(frame.clone().between(node, backend).hop(link))
                        .counts(SourceTranslated),
                );
            }
        }
    }
}
