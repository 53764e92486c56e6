//! The backends that clients keep.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fairway_common::affinity::{Choice, Key, kind};
use fairway_common::{family, limits};

use super::ticks;

/// Who keeps a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// The sender of packets.
    Address(IpAddr),
    /// A network namespace, by its cookie: all that is known at a socket.
    Namespace(u64),
    /// A UDP socket that is not connected, by its cookie.
    Socket(u64),
}

/// A backend that a client keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Affinity {
    /// Who keeps it.
    pub client: Client,
    /// The Service port's id.
    pub service: u32,
    /// Where its connections go; none: the backend is not there.
    pub backend: Option<SocketAddr>,
    /// Time since its last new connection, or its last datagram.
    pub since: Duration,
    /// Time until it is forgotten.
    pub expires: Duration,
}

/// The client of an entry.
pub(super) fn client(key: &Key) -> Client {
    let cookie = u64::from(key.client[1]) << 32 | u64::from(key.client[0]);
    match (key.kind & 0xff, key.kind >> 8 & 0xff) {
        (kind::NAMESPACE, _) => Client::Namespace(cookie),
        (kind::SOCKET, _) => Client::Socket(cookie),
        (_, 4) => Client::Address(family::to_ipv4([key.client[0]]).into()),
        _ => Client::Address(family::to_ipv6(key.client).into()),
    }
}

/// Whether it belongs to an address of IPv6.
pub(super) fn is_v6(key: &Key) -> bool {
    key.kind >> 8 & 0xff == 6
}

/// How long an entry is kept, from the affinity of each Service port's frontends; none: nobody asks for it any more.
pub(super) fn kept(key: &Key, services: &HashMap<u32, u32>) -> Option<Duration> {
    let seconds = *services.get(&key.service)?;
    let seconds = match (key.kind & 0xff, seconds) {
        (kind::SOCKET, 0) => limits::SOCKET_SECONDS,
        (_, 0) => return None,
        (_, seconds) => seconds,
    };
    Some(Duration::from_secs(seconds.into()))
}

/// Entries that nobody needs: of Services that are gone or ask for no affinity, past their time, or with a backend that
/// is gone. `usable` says of a backend's id and a Service port's whether they still belong together.
pub(super) fn over(
    entries: &[(Key, Choice)],
    services: &HashMap<u32, u32>,
    now: u32,
    mut usable: impl FnMut(&Key, u32) -> bool,
) -> Vec<(Key, Choice)> {
    let over = |(key, choice): &&(Key, Choice)| {
        let idle = ticks(now.saturating_sub(choice.since));
        kept(key, services).is_none_or(|kept| idle > kept) || !usable(key, choice.backend)
    };
    let mut over = over;
    entries.iter().filter(|entry| over(entry)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: u32, service: u32) -> Key {
        Key { client: [1, 0, 0, 0], service, kind: kind | 4 << 8 }
    }

    // S66, S68
    #[test]
    fn affinity_ends_with_its_time_its_service_and_its_backend() {
        let services = HashMap::from([(1, 100), (2, 0)]);
        let choice = |backend, since| Choice { backend, since };
        let entries = [
            (key(kind::ADDRESS, 1), choice(1, 1000)),
            (key(kind::NAMESPACE, 1), choice(1, 500)),
            (key(kind::ADDRESS, 1), choice(9, 1000)),
            (key(kind::ADDRESS, 2), choice(1, 1000)),
            (key(kind::SOCKET, 2), choice(1, 1000)),
            (key(kind::ADDRESS, 3), choice(1, 1000)),
        ];
        let over = over(&entries, &services, 1010, |_, backend| backend != 9);
        assert_eq!(over, [entries[1], entries[2], entries[3], entries[5]]);
    }
}
