//! From a Service address to a backend: one look-up, one slot, one backend.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use fairway_common::Reason;
use fairway_common::service::{Backend, Frontend, FrontendKey};

use crate::ip::Ip;
use crate::maps::SLOTS;

/// Where the client is, seen from this node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A pod or process of this node.
    Inside,
    /// Beyond the node's device.
    Outside,
}

/// A backend that was chosen.
pub struct Choice<A: 'static> {
    /// Its id.
    pub id: u32,
    /// It.
    pub backend: &'static Backend<A>,
}

/// The frontend at an address, copied out of the map; `port` in network byte order.
#[inline(always)]
pub fn find<A: Ip>(address: A, port: u16, protocol: u8) -> Option<Frontend> {
    // SAFETY: the value is copied at once.
    unsafe { A::frontends().get(FrontendKey::new(address, port, protocol)).copied() }
}

/// Chooses a backend, or says why there is none. Equal hashes choose alike as long as the Service does not change.
#[inline(always)]
pub fn choose<A: Ip>(frontend: &Frontend, side: Side, hash: u32) -> Result<Choice<A>, Reason> {
    let (run, drops) = match side {
        Side::Inside => (frontend.inside, Frontend::INSIDE_DROPS),
        Side::Outside => (frontend.outside, Frontend::OUTSIDE_DROPS),
    };
    if run.count == 0 {
        return Err(if frontend.flags & drops != 0 { Reason::NoLocalBackend } else { Reason::NoBackend });
    }
    let id = *SLOTS.get(run.first + hash % run.count).ok_or(Reason::BackendMissing)?;
    let backend = A::backends().get(id).ok_or(Reason::BackendMissing)?;
    if backend.port == 0 {
        return Err(Reason::BackendMissing);
    }
    Ok(Choice { id, backend })
}

/// A hash for a connection that nothing ties to another.
#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: no arguments, no effects.
    unsafe { bpf_get_prandom_u32() }
}
