//! Sockets whose peer was translated.

use std::net::SocketAddr;

use fairway_common::socket::{Peer, PeerKey};

use crate::maps::Address;

/// A socket whose peer was translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket {
    /// Its cookie.
    pub cookie: u64,
    /// Where it sends.
    pub backend: SocketAddr,
    /// The Service port's id.
    pub service: u32,
}

/// An entry of the table of translated sockets.
pub(super) type Translated<A> = (PeerKey<A>, Peer<A>);

/// Names it in user space's words.
pub(super) fn socket<A: Address>((key, peer): &Translated<A>) -> Socket {
    Socket {
        cookie: u64::from(key.cookie[1]) << 32 | u64::from(key.cookie[0]),
        backend: SocketAddr::new(key.address.to_ip(), u16::from_be(key.port)),
        service: peer.service,
    }
}
