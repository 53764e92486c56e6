//! The service table: a frontend names two runs of slots, a slot names a backend.
//!
//! One look-up by address, port and protocol finds the frontend; `slots[first + hash % count]` is the
//! pick. A run is never changed while a frontend names it: an update writes a new run, then replaces the
//! frontend's value, and reuses the old run after a grace period.

use crate::family::{SPREAD, spread};
use crate::{Family, limits, shared};

/// The key of a frontend.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendKey<A> {
    /// Service address.
    pub address: A,
    /// Service port, network byte order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
}

/// A bit of the filter in front of the frontends (a Bloom filter with one hash): the word that it is in, and its mask there.
/// Where it is not set there is no frontend of that key, and none has a connection any more.
#[inline(always)]
pub fn filter_bit<A: Family>(key: &FrontendKey<A>) -> (u32, u64) {
    let hash = (spread(key.address) ^ (key.port as u32 | (key.protocol as u32) << 16)).wrapping_mul(SPREAD);
    let bit = hash >> (u32::BITS - (limits::FILTER * u64::BITS).trailing_zeros());
    (bit / u64::BITS, 1 << (bit % u64::BITS))
}

impl<A: Family> FrontendKey<A> {
    /// The key of a frontend; `port` in network byte order.
    #[inline(always)]
    pub fn new(address: A, port: u16, protocol: u8) -> Self {
        Self { address, port, protocol, pad: 0 }
    }
}

/// Consecutive slots.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Index of the first slot.
    pub first: u32,
    /// Number of slots; 0: no backend.
    pub count: u32,
}

/// A frontend: what a Service address, port and protocol stand for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontend {
    /// Backends for clients inside: pods and processes of this node.
    pub inside: Run,
    /// Backends for clients that arrive at the node's device from outside.
    pub outside: Run,
    /// The Service port's id, the same for all its frontends; never 0.
    pub service: u32,
    /// Bits of the constants below.
    pub flags: u32,
    /// Session affinity: seconds for which a client keeps its backend after its last new connection; 0: none (S63).
    pub affinity: u32,
    /// Zero.
    pub pad: u32,
}

impl Frontend {
    /// An empty `inside` run drops instead of refusing (S23: internalTrafficPolicy Local).
    pub const INSIDE_DROPS: u32 = 1;
    /// An empty `outside` run drops instead of refusing (S24: externalTrafficPolicy Local).
    pub const OUTSIDE_DROPS: u32 = 1 << 1;
    /// Connections from outside keep the client's address (externalTrafficPolicy Local). For listings: the kernel
    /// programs translate the source only towards another node's backend, and `outside` holds none then.
    pub const KEEP_CLIENT: u32 = 1 << 2;
    /// Only clients in the Service port's source ranges are let in (S39).
    pub const RANGES: u32 = 1 << 3;
    /// The slot is picked by a hash of the client and not by chance: the runs are Maglev tables.
    pub const HASHED: u32 = 1 << 4;
    /// The `inside` run holds backends of this node only: affinity never leads elsewhere (S22, S70).
    pub const INSIDE_LOCAL: u32 = 1 << 5;
    /// No frontend, but the sign that the address belongs to a Service: ports without one are refused (S35). Its key has
    /// port 0 and protocol 0.
    pub const ADDRESS: u32 = 1 << 6;
    /// Clients from outside are left alone: the address is another node's, or means each host itself (S75).
    pub const INSIDE_ONLY: u32 = 1 << 7;
    /// Every node has the address and the same Maglev tables for it: where that is wanted, packets from outside go to the
    /// backend's node as they are.
    pub const DIRECT: u32 = 1 << 8;
}

/// A backend: where a connection goes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend<A> {
    /// Address of the pod, node or outside host.
    pub address: A,
    /// Port, network byte order.
    pub port: u16,
    /// Bits of the constants below.
    pub flags: u16,
    /// The Service port that the id is given to: connections remember both, and see when it is no longer theirs.
    pub service: u32,
}

/// Bits of [`Backend::flags`].
pub mod backend_flags {
    /// The backend is a pod or a process of this node: replies come back through this node by themselves.
    pub const LOCAL: u16 = 1;
    /// It still answers, but gets no new connections: UDP flows stay (S57), clients with affinity move (S67).
    pub const DRAINING: u16 = 1 << 1;
    /// It does not answer any more: UDP flows move at their next packet (S54).
    pub const GONE: u16 = 1 << 2;
}

shared! {
    FrontendKey<A: Family>: 8, 20;
    Backend<A: Family>: 12, 24;
}
shared! {
    Run: 8;
    Frontend: 32;
}
