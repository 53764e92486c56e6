//! Session affinity: the backend that a client had last (S63 to S71), and the one that a UDP socket sends to (S62).

use crate::shared;

/// Who the client of a Service port is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// What identifies it, by `kind`: its address as 16 bytes, or a cookie in the first two words.
    pub client: [u32; 4],
    /// The Service port's id.
    pub service: u32,
    /// One of [`kind`]; the family in the second byte.
    pub kind: u32,
}

/// What [`Key::client`] is.
pub mod kind {
    /// The source address of its packets.
    pub const ADDRESS: u32 = 0;
    /// Its network namespace: what a program at a socket knows of the client.
    pub const NAMESPACE: u32 = 1;
    /// One UDP socket that is not connected.
    pub const SOCKET: u32 = 2;
}

/// Its backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The backend's id.
    pub backend: u32,
    /// When its last new connection began, or its last datagram was sent, in ticks of connection tracking.
    pub since: u32,
}

shared! {
    Key: 24;
    Choice: 8;
}
