//! Conntrack entries, two by two: what a listing shows and what has been silent for too long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use fairway_common::Family;
use fairway_common::conntrack::{Entry, State, Tuple, flags, tick};

use crate::Connection;

/// A tuple as a hash map's key.
type Bytes = ([u32; 4], [u32; 4], u16, u16, u8);

fn bytes<A: Family>(tuple: &Tuple<A>) -> Bytes {
    let (source, destination) = (tuple.source.to_wide(), tuple.destination.to_wide());
    (source, destination, tuple.source_port, tuple.destination_port, tuple.protocol)
}

/// Now, on the clock of connection tracking.
pub(crate) fn now() -> u32 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE)
        .map_or(Duration::ZERO, Duration::from);
    tick(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// One step of that clock.
fn ticks(count: u32) -> Duration {
    Duration::from_nanos(u64::from(count) << 30)
}

/// Both directions of a connection, with the key of the original one.
struct Pair<'a, A> {
    key: &'a Tuple<A>,
    original: &'a Entry<A>,
    reply: Option<&'a Entry<A>>,
}

impl<A: Family> Pair<'_, A> {
    fn state(&self) -> State {
        let reply = self.reply.map_or(flags::REPLY, |entry| entry.flags);
        State::of(self.key.protocol, self.original.flags, reply)
    }

    fn idle(&self, now: u32) -> Duration {
        let last = self.reply.map_or(0, |entry| entry.last_seen).max(self.original.last_seen);
        ticks(now.saturating_sub(last))
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.state().timeout(self.key.protocol).into())
    }
}

/// An entry as the map holds it.
type Keyed<A> = (Tuple<A>, Entry<A>);

/// Finds the pairs; `orphans` are reply entries whose original is gone.
fn pairs<A: Family>(entries: &[Keyed<A>]) -> (Vec<Pair<'_, A>>, Vec<&Keyed<A>>) {
    let by_key: HashMap<Bytes, &Entry<A>> = entries.iter().map(|(key, entry)| (bytes(key), entry)).collect();
    let is_reply = |(_, entry): &&Keyed<A>| entry.flags & flags::REPLY != 0;
    let (replies, originals): (Vec<&_>, Vec<&_>) = entries.iter().partition(is_reply);
    let pairs = originals
        .into_iter()
        .map(|(key, original)| {
            let reply = by_key.get(&bytes(&original.to.reversed())).copied();
            Pair { key, original, reply: reply.filter(|reply| reply.to == key.reversed()) }
        })
        .collect();
    let orphans = replies
        .into_iter()
        .filter(|(key, reply)| {
            let original = by_key.get(&bytes(&reply.to.reversed()));
            original.is_none_or(|original| original.to != key.reversed())
        })
        .collect();
    (pairs, orphans)
}

/// The connections of one family.
pub(crate) fn pair<A: Family>(entries: &[Keyed<A>], now: u32, to_ip: fn(A) -> IpAddr) -> Vec<Connection> {
    let end = |address: A, port: u16| (to_ip(address), u16::from_be(port));
    let (pairs, _) = pairs(entries);
    pairs
        .iter()
        .map(|pair| {
            let (key, to) = (pair.key, &pair.original.to);
            let (state, idle) = (pair.state(), pair.idle(now));
            Connection {
                protocol: key.protocol,
                source: end(key.source, key.source_port),
                frontend: end(key.destination, key.destination_port),
                backend: end(to.destination, to.destination_port),
                nat_source: end(to.source, to.source_port),
                state: state.name(),
                idle,
                expires: pair.timeout().saturating_sub(idle),
                service: pair.original.service,
            }
        })
        .collect()
}

/// Keys of connections that have been silent for longer than their state allows, both directions.
pub(crate) fn silent<A: Family>(entries: &[(Tuple<A>, Entry<A>)], now: u32) -> Vec<Tuple<A>> {
    let (pairs, orphans) = pairs(entries);
    let mut keys = Vec::new();
    for pair in pairs {
        if pair.idle(now) > pair.timeout() {
            keys.push(*pair.key);
            if pair.reply.is_some() {
                keys.push(pair.original.to.reversed());
            }
        }
    }
    // A reply whose original was evicted still translates what is under way, for a while.
    keys.extend(
        orphans
            .into_iter()
            .filter(|(_, entry)| now.saturating_sub(entry.last_seen) > 120)
            .map(|(key, _)| *key),
    );
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairway_common::{TCP, V4, conntrack::observe, conntrack::tcp};

    fn tuple(source: u32, destination: u32) -> Tuple<V4> {
        Tuple {
            source: [source],
            destination: [destination],
            source_port: 1,
            destination_port: 2,
            protocol: TCP,
            pad: [0; 3],
        }
    }

    fn connection(original_flags: u32, reply_flags: u32, seen: u32) -> Vec<(Tuple<V4>, Entry<V4>)> {
        let (key, to) = (tuple(1, 2), tuple(1, 3));
        let entry = |to, flags| Entry { to, last_seen: seen, flags, service: 7, backend: 0 };
        vec![
            (key, entry(to, original_flags)),
            (to.reversed(), entry(key.reversed(), flags::REPLY | reply_flags)),
        ]
    }

    fn address(words: V4) -> IpAddr {
        fairway_common::family::to_ipv4(words).into()
    }

    #[test]
    fn two_entries_are_one_connection() {
        let data = observe(TCP, tcp::ACK);
        let list = pair(&connection(data, data, 100), 103, address);
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].state, "established");
        assert_eq!(list[0].idle.as_secs(), 3);
    }

    // S47
    #[test]
    fn an_active_connection_is_never_collected() {
        let data = observe(TCP, tcp::ACK);
        assert!(silent(&connection(data, data, 100), 100 + 20_000).is_empty());
    }

    #[test]
    fn a_closed_connection_goes_with_both_directions() {
        let closed = observe(TCP, tcp::FIN | tcp::ACK);
        assert_eq!(silent(&connection(closed, closed, 100), 111).len(), 2);
        assert!(silent(&connection(closed, closed, 100), 109).is_empty());
    }
}
