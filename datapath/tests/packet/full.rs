//! A full table of connections.

use fairway_common::Reason::{ConntrackOverflow, ReplyTranslated, ServiceNew, Translated};
use fairway_common::conntrack::{Entry, Hop, Sums, Tuple, flags};
use fairway_common::{Family, TCP, limits};

use crate::netns::{ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD, row};
use crate::world::World;

/// Fills a table with connections of nobody.
fn fill<A: Family>(map: &mut aya::maps::HashMap<aya::maps::MapData, Tuple<A>, Entry<A>>) {
    let mut tuple = Tuple {
        source: A::UNSPECIFIED,
        destination: A::UNSPECIFIED,
        source_port: 0,
        destination_port: 0,
        protocol: TCP,
        pad: [0; 3],
    };
    for number in 0..=limits::CONNTRACK {
        (tuple.source_port, tuple.destination_port) = (number as u16, (number >> 16) as u16);
        let entry = Entry {
            to: tuple,
            last_seen: 0,
            flags: flags::REPLY,
            service: 1,
            backend: 1,
            hop: Hop::default(),
            sums: Sums::default(),
            far: A::UNSPECIFIED,
            rest: Default::default(),
        };
        if map.insert(tuple, entry, 0).is_err() {
            return;
        }
    }
    panic!("the table takes more than its size");
}

// S53
#[test]
fn a_full_table_keeps_what_it_has_and_new_connections_work() {
    let mut world = World::load_with(|_| {}).unwrap();
    for v4 in [true, false] {
        world.begin(v4, TCP);
        let (service, backend) = (world.service(1), world.remote(1, 8080));
        world.put(service, &[backend], &[], 0);
        let [old, new] = [400, 401].map(|port| world.frame(world.pod(1, port), service));
        world.run(FROM_POD, &old.build());
        if v4 {
            fill(&mut world.conntrack4);
        } else {
            fill(&mut world.conntrack6);
        }
        let routed =
            |frame: &crate::frame::Frame| frame.clone().between(frame.source, backend).hop([ETH0, NODE2]);
        world.rows([
            row("established", FROM_POD, &old).redirects(routed(&old)).counts(Translated),
            row("new", FROM_POD, &new)
                .redirects(routed(&new))
                .counts(ServiceNew)
                .counts_calls(ConntrackOverflow, 2),
            row("new, again", FROM_POD, &new).redirects(routed(&new)).counts(Translated),
            row("established still", FROM_POD, &old).redirects(routed(&old)).counts(Translated),
        ]);
        for pod in [old.source, new.source] {
            let back = world.frame(backend, pod);
            world.row(
                row("reply", FROM_NETWORK, &back)
                    .redirects(back.clone().between(service, pod).hop(World::to_pod(1)))
                    .counts(ReplyTranslated),
            );
        }
    }
}
