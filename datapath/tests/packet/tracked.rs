//! What the programs have recorded of connections.

use std::net::{IpAddr, SocketAddr};

use fairway_common::conntrack::{Entry, Tuple, flags};
use fairway_common::{Family, family};

use crate::world::{Conntrack, World};

/// One conntrack entry: its key, what it becomes, and what it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Track {
    pub(crate) key: (SocketAddr, SocketAddr),
    pub(crate) to: (SocketAddr, SocketAddr),
    pub(crate) flags: u32,
}

/// The original entry of a connection and that of its replies.
pub(crate) fn tracks(
    key: (SocketAddr, SocketAddr),
    to: (SocketAddr, SocketAddr),
    original: u32,
    reply: u32,
) -> [Track; 2] {
    [
        Track { key, to, flags: original },
        Track { key: (to.1, to.0), to: (key.1, key.0), flags: flags::REPLY | reply },
    ]
}

impl World {
    /// Lets all connections have been silent for so many ticks longer.
    pub(crate) fn rest(&mut self, ticks: u32) {
        age(&mut self.conntrack4, ticks);
        age(&mut self.conntrack6, ticks);
    }

    /// All connections, sorted.
    pub(crate) fn tracked(&self) -> Vec<Track> {
        let mut all = if self.v4 {
            list(&self.conntrack4, |address| family::to_ipv4(address).into())
        } else {
            list(&self.conntrack6, |address| family::to_ipv6(address).into())
        };
        all.sort();
        all
    }

    /// Requires exactly these connections.
    #[track_caller]
    pub(crate) fn expect_tracked(&self, connections: &[[Track; 2]]) {
        let mut wanted: Vec<Track> = connections.iter().flatten().copied().collect();
        wanted.sort();
        assert_eq!(self.tracked(), wanted, "the conntrack entries (found, expected)");
    }
}

fn list<A: Family>(map: &Conntrack<A>, to_ip: fn(A) -> IpAddr) -> Vec<Track> {
    let ends = |tuple: &Tuple<A>| {
        (
            SocketAddr::new(to_ip(tuple.source), u16::from_be(tuple.source_port)),
            SocketAddr::new(to_ip(tuple.destination), u16::from_be(tuple.destination_port)),
        )
    };
    map.iter()
        .map(|entry| {
            let (key, entry) = entry.unwrap();
            Track { key: ends(&key), to: ends(&entry.to), flags: entry.flags }
        })
        .collect()
}

fn age<A: Family>(conntrack: &mut Conntrack<A>, ticks: u32) {
    let entries: Vec<_> = conntrack.iter().map(|entry| entry.unwrap()).collect();
    for (key, entry) in entries {
        let last_seen = entry.last_seen.wrapping_sub(ticks);
        conntrack.insert(key, Entry { last_seen, ..entry }, 0).unwrap();
    }
}
