//! From a Service address to a backend: one look-up, one slot, one backend.

use aya_ebpf::maps::lpm_trie;
use fairway_common::Reason;
use fairway_common::affinity::{Key, kind};
use fairway_common::conntrack::Tuple;
use fairway_common::family::SPREAD;
use fairway_common::ranges;
use fairway_common::service::{Backend, Frontend, FrontendKey, filter_bit};

use crate::ip::Ip;
use crate::maps::{RANGES, SLOTS};
use crate::stage::{affinity, clock};

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

/// Who asks for a backend.
pub struct Client {
    /// What identifies it, by `kind`.
    pub id: [u32; 4],
    /// One of [`kind`], and the family.
    pub kind: u32,
    /// How long it keeps its backend where the Service says nothing, in seconds.
    pub seconds: u32,
}

/// The frontend at an address, copied out of the map; `port` in network byte order.
#[inline(always)]
pub fn find<A: Ip>(address: A, port: u16, protocol: u8) -> Option<Frontend> {
    let key = FrontendKey::new(address, port, protocol);
    if !may_be(&key) {
        return None;
    }
    // SAFETY: the value is copied at once.
    unsafe { A::frontends().get(&key).copied() }
}

/// Whether there may be a frontend of a key, or connections of one that was there: by far most packets are for none.
#[inline(always)]
pub fn may_be<A: Ip>(key: &FrontendKey<A>) -> bool {
    let (word, mask) = filter_bit(key);
    A::filter().get(word).is_some_and(|bits| bits & mask != 0)
}

/// The backend of a connection that begins, or why there is none.
#[inline(always)]
pub fn pick<A: Ip>(tuple: &Tuple<A>, frontend: &Frontend, side: Side) -> Result<Choice<A>, Reason> {
    if frontend.flags & Frontend::RANGES != 0 && !admits(frontend.service, &tuple.source) {
        return Err(Reason::SourceNotAllowed);
    }
    let hash = if frontend.flags & Frontend::HASHED != 0 {
        hash(tuple, frontend.affinity == 0)
    } else {
        clock::random()
    };
    let client =
        Client { id: tuple.source.to_wide(), kind: kind::ADDRESS | (A::VERSION as u32) << 8, seconds: 0 };
    choose(frontend, side, hash, &client)
}

/// Chooses a backend for a client, or says why there is none. Equal hashes choose alike as long as the Service does
/// not change.
#[inline(always)]
pub fn choose<A: Ip>(
    frontend: &Frontend,
    side: Side,
    hash: u32,
    client: &Client,
) -> Result<Choice<A>, Reason> {
    let (run, drops, local) = match side {
        Side::Inside => (frontend.inside, Frontend::INSIDE_DROPS, Frontend::INSIDE_LOCAL),
        Side::Outside => (frontend.outside, Frontend::OUTSIDE_DROPS, Frontend::KEEP_CLIENT),
    };
    if run.count == 0 {
        return Err(if frontend.flags & drops != 0 { Reason::NoLocalBackend } else { Reason::NoBackend });
    }
    let mut id = *SLOTS.get(run.first + hash % run.count).ok_or(Reason::BackendMissing)?;
    let seconds = if frontend.affinity != 0 { frontend.affinity } else { client.seconds };
    if seconds != 0 {
        let key = Key { client: client.id, service: frontend.service, kind: client.kind };
        id = affinity::keep::<A>(&key, id, seconds, frontend.flags & local != 0);
    }
    let backend = A::backends().get(id).ok_or(Reason::BackendMissing)?;
    if backend.port == 0 {
        return Err(Reason::BackendMissing);
    }
    Ok(Choice { id, backend })
}

/// A hash of a client and what it asks for: equal at every node.
#[inline(always)]
pub fn hash<A: Ip>(tuple: &Tuple<A>, with_port: bool) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut mix = |word: u32| hash = (hash ^ word).wrapping_mul(SPREAD).rotate_left(15);
    let (source, destination) = (tuple.source.to_wide(), tuple.destination.to_wide());
    let mut index = 0;
    while index < size_of::<A>() / 4 {
        mix(source[index]);
        mix(destination[index]);
        index += 1;
    }
    mix(tuple.destination_port as u32 | (tuple.protocol as u32) << 16);
    if with_port {
        mix(tuple.source_port as u32);
    }
    hash ^ hash >> 16
}

/// Whether a guarded frontend lets a client in (S39).
#[inline(never)]
pub fn admits<A: Ip>(service: u32, source: &A) -> bool {
    let key = lpm_trie::Key { prefix_len: ranges::PREFIX + 128, data: ranges::source(service, *source) };
    RANGES.get(&key).is_some()
}
