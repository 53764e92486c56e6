//! Entries two by two.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use fairway_common::Family;
use fairway_common::conntrack::{Entry, State, Tuple, flags};

use super::{Timeouts, ticks};
use crate::Connection;

/// An entry as the table holds it.
pub(crate) type Keyed<A> = (Tuple<A>, Entry<A>);

/// A tuple as a hash map's key.
type Bytes = ([u32; 4], [u32; 4], u16, u16, u8);

fn bytes<A: Family>(tuple: &Tuple<A>) -> Bytes {
    let (source, destination) = (tuple.source.to_wide(), tuple.destination.to_wide());
    (source, destination, tuple.source_port, tuple.destination_port, tuple.protocol)
}

/// Both directions of a connection.
pub(super) struct Pair<'a, A: Family> {
    pub(super) key: &'a Tuple<A>,
    pub(super) original: &'a Entry<A>,
    pub(super) reply: Option<&'a Entry<A>>,
}

impl<A: Family> Pair<'_, A> {
    pub(super) fn state(&self) -> State {
        let reply = self.reply.map_or(flags::REPLY, |entry| entry.flags);
        State::of(self.key.protocol, self.original.flags, reply)
    }

    pub(super) fn idle(&self, now: u32) -> Duration {
        let last = self.reply.map_or(0, |entry| entry.last_seen).max(self.original.last_seen);
        ticks(now.saturating_sub(last))
    }
}

/// Finds the pairs; the second are reply entries whose original is gone. Of two entries under one key the first counts:
/// the kernel looks at the table before it looks at what found it full.
pub(super) fn pairs<A: Family>(entries: &[Keyed<A>]) -> (Vec<Pair<'_, A>>, Vec<&Keyed<A>>) {
    let is_reply = |(_, entry): &&Keyed<A>| entry.flags & flags::REPLY != 0;
    let mut replies: HashMap<Bytes, (&Keyed<A>, bool)> = HashMap::with_capacity(entries.len() / 2);
    for reply in entries.iter().filter(is_reply) {
        replies.entry(bytes(&reply.0)).or_insert((reply, false));
    }
    let mut pairs = Vec::with_capacity(entries.len() / 2);
    for (key, original) in entries.iter().filter(|entry| !is_reply(entry)) {
        let reply = replies.get_mut(&bytes(&original.to.reversed()));
        let reply = reply.filter(|(reply, _)| reply.1.to == key.reversed()).map(|(reply, paired)| {
            *paired = true;
            &reply.1
        });
        pairs.push(Pair { key, original, reply });
    }
    let orphans = replies.into_values().filter(|(_, paired)| !paired).map(|(reply, _)| reply).collect();
    (pairs, orphans)
}

/// The connections of one family, as listings show them.
pub(super) fn connections<A: Family>(
    entries: &[Keyed<A>],
    now: u32,
    timeouts: &Timeouts,
    to_ip: fn(A) -> IpAddr,
) -> Vec<Connection> {
    let end = |address: A, port: u16| (to_ip(address), u16::from_be(port));
    let row = |pair: &Pair<'_, A>| {
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
            expires: timeouts.of(state, key.protocol).saturating_sub(idle),
            service: pair.original.service,
        }
    };
    pairs(entries).0.iter().map(row).collect()
}
