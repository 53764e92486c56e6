//! The service table: a frontend names two runs of slots, a slot names a backend.
//!
//! One look-up by address, port and protocol finds the frontend; `slots[first + hash % count]` is the
//! pick. A run is never changed while a frontend names it: an update writes a new run, then replaces the
//! frontend's value, and reuses the old run after a grace period.

use crate::{Family, shared};

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
}

impl Frontend {
    /// An empty `inside` run drops instead of refusing (S23: internalTrafficPolicy Local).
    pub const INSIDE_DROPS: u32 = 1;
    /// An empty `outside` run drops instead of refusing (S24: externalTrafficPolicy Local).
    pub const OUTSIDE_DROPS: u32 = 1 << 1;
    /// Connections from outside keep the client's address (externalTrafficPolicy Local). For listings: the kernel
    /// programs translate the source only towards another node's backend, and `outside` holds none then.
    pub const KEEP_CLIENT: u32 = 1 << 2;
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
    /// Grows each time the id is given to another backend.
    pub generation: u32,
}

/// Bits of [`Backend::flags`].
pub mod backend_flags {
    /// The backend is a pod or a process of this node: replies come back through this node by themselves.
    pub const LOCAL: u16 = 1;
}

shared! {
    FrontendKey<A: Family>: 8, 20;
    Backend<A: Family>: 12, 24;
}
shared! {
    Run: 8;
    Frontend: 24;
}
