use std::net::IpAddr;
use std::time::Instant;

use fairway_common::conntrack::{Hop, Sums, flags, observe, tcp};
use fairway_common::{TCP, V4, family};

use super::super::pairs::connections;
use super::*;

const NOW: u32 = 50_000;

fn tuple(protocol: u8, source: (u32, u16), destination: (u32, u16)) -> Tuple<V4> {
    Tuple {
        source: [source.0],
        destination: [destination.0],
        source_port: source.1,
        destination_port: destination.1,
        protocol,
        pad: [0; 3],
    }
}

/// A connection from client 1 to the frontend 2:80, which goes to this backend.
fn connection(protocol: u8, port: u16, backend: u32, marks: [u32; 2], seen: u32) -> [Keyed<V4>; 2] {
    let key = tuple(protocol, (1, port), (2, 80));
    let to = tuple(protocol, (1, port), (1_000 + backend, 8080));
    let entry = |to, flags| Entry {
        to,
        last_seen: seen,
        flags,
        service: 7,
        backend,
        hop: Hop::default(),
        sums: Sums::default(),
        far: Default::default(),
        rest: Default::default(),
    };
    [(key, entry(to, marks[0])), (to.reversed(), entry(key.reversed(), flags::REPLY | marks[1]))]
}

fn tcp_connection(marks: [u8; 2], seen: u32) -> [Keyed<V4>; 2] {
    connection(TCP, 1, 1, marks.map(|mark| observe(TCP, mark)), seen)
}

fn sweep(entries: &[Keyed<V4>], timeouts: &Timeouts, pressed: bool) -> usize {
    over(entries, NOW, timeouts, pressed, |_| false).len()
}

/// Seconds in steps of the clock, rounded down.
fn steps(seconds: u32) -> u32 {
    ((u64::from(seconds) * 1_000_000_000) >> 30) as u32
}

#[test]
fn two_entries_are_one_connection() {
    let entries = tcp_connection([tcp::ACK; 2], NOW - 3);
    let to_ip = |words| IpAddr::from(family::to_ipv4(words));
    let list = connections(&entries, NOW, &Timeouts::default(), to_ip);
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].state, list[0].idle.as_secs()), ("established", 3));
}

// S47
#[test]
fn an_active_connection_is_never_collected() {
    let timeouts = Timeouts::default();
    for pressed in [false, true] {
        assert_eq!(sweep(&tcp_connection([tcp::ACK; 2], NOW - steps(21_600)), &timeouts, pressed), 0);
        let mut one_way = tcp_connection([tcp::ACK; 2], NOW - 40_000);
        one_way[1].1.last_seen = NOW - 1;
        assert_eq!(sweep(&one_way, &timeouts, pressed), 0, "one direction is enough");
    }
}

// S46, S52
#[test]
fn each_state_has_a_time_of_its_own_and_settings_change_it() {
    let seconds = Duration::from_secs;
    let set = Timeouts {
        tcp_established: seconds(700),
        tcp_syn_sent: seconds(200),
        tcp_fin_wait: seconds(300),
        tcp_closing: seconds(400),
        udp: seconds(500),
        udp_stream: seconds(600),
    };
    let defaults = Timeouts::default();
    let (syn, data) = (observe(TCP, tcp::SYN), observe(TCP, tcp::ACK));
    let (fin, reset) = (data | flags::FIN, data | flags::RST);
    let cases = [
        ("syn-sent", TCP, [syn, 0], 60, 200),
        ("established", TCP, [data, data], 21_600, 700),
        ("fin-wait", TCP, [fin, data], 120, 300),
        ("fin-wait", TCP, [data, fin], 120, 300),
        ("closing", TCP, [fin, fin], 10, 400),
        ("reset", TCP, [data, reset], 120, 120),
        ("unreplied", UDP, [flags::DATA, 0], 30, 500),
        ("established", UDP, [flags::DATA, flags::DATA], 120, 600),
    ];
    for (name, protocol, marks, by_default, when_set) in cases {
        for (timeouts, kept) in [(&defaults, by_default), (&set, when_set)] {
            let at = |idle| connection(protocol, 1, 1, marks, NOW - idle);
            assert_eq!(sweep(&at(steps(kept)), timeouts, false), 0, "{name} {protocol}: too early");
            assert_eq!(sweep(&at(steps(kept) + 1), timeouts, false), 1, "{name} {protocol}: too late");
        }
    }
}

// S53
#[test]
fn a_table_that_is_nearly_full_gives_up_what_has_not_begun_or_is_over() {
    let timeouts = Timeouts::default();
    let (syn, data) = (observe(TCP, tcp::SYN), observe(TCP, tcp::ACK));
    let fin = data | flags::FIN;
    let quarter =
        [(TCP, [syn, 0], 60), (TCP, [fin, data], 120), (TCP, [fin, fin], 10), (UDP, [flags::DATA, 0], 30)];
    for (protocol, marks, kept) in quarter {
        let entries = connection(protocol, 1, 1, marks, NOW - steps(kept) / 4 - 1);
        assert_eq!((sweep(&entries, &timeouts, false), sweep(&entries, &timeouts, true)), (0, 1));
    }
    for (protocol, marks, kept) in [(TCP, [data, data], 21_600), (UDP, [flags::DATA; 2], 120)] {
        assert_eq!(sweep(&connection(protocol, 1, 1, marks, NOW - steps(kept)), &timeouts, true), 0);
    }
}

#[test]
fn a_connection_goes_with_both_directions_and_a_reply_alone_after_a_while() {
    let closed = tcp_connection([tcp::FIN | tcp::ACK; 2], NOW - 11);
    let found = over(&closed, NOW, &Timeouts::default(), false, |_| false);
    assert_eq!(found[0].original, Some(closed[0]));
    assert_eq!(found[0].reply, Some(closed[1]));
    let [_, mut orphan] = tcp_connection([tcp::ACK; 2], NOW - steps(120));
    assert_eq!(sweep(&[orphan], &Timeouts::default(), false), 0);
    orphan.1.last_seen -= 1;
    assert_eq!(sweep(&[orphan], &Timeouts::default(), false), 1);
}

// S56, S57, S58, S59: protocol x frontend x endpoint, as kube-proxy's matrix. A backend's id stands for what the
// tables say of it: usable, draining, gone, another Service's, another port's.
#[test]
fn only_datagrams_for_a_backend_that_is_gone_are_stale() {
    const USABLE: u32 = 1;
    const DRAINING: u32 = 2;
    let gone = [(3, "gone"), (4, "another Service's"), (5, "at another port"), (6, "never written")];
    let is_gone = |entry: &Entry<V4>| gone.iter().any(|(id, _)| *id == entry.backend);
    let mut entries = Vec::new();
    let mut expected = Vec::new();
    let mut port = 0;
    for protocol in [UDP, TCP, 132] {
        for frontend in [(2, 80), (3, 80), (2, 81), (4, 30_080)] {
            for backend in [USABLE, DRAINING, 3, 4, 5, 6] {
                port += 1;
                let mut pair = connection(protocol, port, backend, [flags::DATA; 2], NOW);
                let key = tuple(protocol, (1, port), frontend);
                pair[0].0 = key;
                pair[1].1.to = key.reversed();
                if protocol == UDP && backend > DRAINING {
                    expected.push(key);
                }
                entries.extend(pair);
            }
        }
    }
    assert_eq!(entries.len(), 144);
    let found = over(&entries, NOW, &Timeouts::default(), false, is_gone);
    assert!(found.iter().all(|over| over.why == Why::Stale && over.reply.is_some()));
    let keys: Vec<Tuple<V4>> = found.iter().filter_map(|over| Some(over.original?.0)).collect();
    assert_eq!(keys, expected);
}

// S60
#[test]
fn one_stale_flow_among_a_million_entries_is_found_in_bounded_time() {
    let mut entries = Vec::with_capacity(1_000_000);
    for index in 0..500_000_u32 {
        let backend = if index == 333_333 { 2 } else { 1 };
        let mut pair = connection(UDP, (index % 50_000) as u16, backend, [flags::DATA; 2], NOW);
        let client = [10 + index / 50_000];
        (pair[0].0.source, pair[0].1.to.source) = (client, client);
        (pair[1].0.destination, pair[1].1.to.destination) = (client, client);
        entries.extend(pair);
    }
    let started = Instant::now();
    let found = over(&entries, NOW, &Timeouts::default(), false, |entry| entry.backend == 2);
    let took = started.elapsed();
    assert_eq!((found.len(), found[0].original), (1, Some(entries[666_666])));
    // Far less in a release build; an algorithm that looks at each entry for each entry takes hours.
    assert!(took < Duration::from_secs(20), "{took:?}");
}
