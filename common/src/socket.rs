//! Sockets whose peer was translated: what replies and getpeername() show instead.

use crate::shared;

/// The key: one socket, one backend it was sent to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerKey<A> {
    /// The socket's cookie, as two halves: a `u64` would need padding beside an IPv6 address.
    pub cookie: [u32; 2],
    /// The backend's address.
    pub address: A,
    /// The backend's port, network byte order.
    pub port: u16,
    /// Zero.
    pub pad: u16,
}

/// The Service address that the program asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer<A> {
    /// Service address.
    pub address: A,
    /// Service port, network byte order.
    pub port: u16,
    /// Zero.
    pub pad: u16,
    /// The Service port's id.
    pub service: u32,
}

shared! {
    PeerKey<A: Family>: 16, 28;
    Peer<A: Family>: 12, 24;
}
