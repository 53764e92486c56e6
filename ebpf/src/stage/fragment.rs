//! Fragments: the first one has the ports and is translated like any packet; the others do as it did (S85).
//!
//! One that comes before its first waits in a map. When the first comes, it and all that waited come in by the device
//! again, in the right order: no second way through the programs is needed.

use aya_ebpf::bindings::{BPF_F_RECOMPUTE_CSUM, BPF_NOEXIST};
use aya_ebpf::helpers::{bpf_clone_redirect, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes};
use fairway_common::Reason;
use fairway_common::conntrack::{Entry, Hop, Sums, flags};
use fairway_common::fragment::{self, MASK, PLACES, SECONDS};

use crate::maps::{HELD, HOLDING};
use crate::packet::{self, ETHERNET, Kind, Packet, Parse};
use crate::stage::clock::now;
use crate::stage::deliver::{self, INGRESS};

/// Remembers what a first fragment became, and whether it was translated; `direct`: the connection on whose way it goes
/// to another node as it is.
#[inline(never)]
pub fn remember<A: Parse>(packet: &Packet<A>, direct: Option<&Entry<A>>) {
    let id = A::fragment_id(packet.skb, packet.transport());
    let name = fragment::name(&packet.original, id);
    let (to, flags) = match direct {
        Some(entry) => (&entry.to, flags::DIRECT),
        None => (&packet.tuple, (packet.tuple != packet.original) as u32),
    };
    let entry = Entry {
        to: *to,
        last_seen: now(),
        flags,
        service: packet.service,
        backend: 0,
        hop: Hop::default(),
        sums: Sums::default(),
        far: A::UNSPECIFIED,
        rest: Default::default(),
    };
    let _ = A::fragments().insert(&name, &entry, 0);
}

/// A later fragment does as its first did: whether that is known, and it was translated.
#[inline(never)]
pub fn follow<A: Parse>(packet: &mut Packet<A>) -> Result<Followed, Reason> {
    let id = A::fragment_id(packet.skb, packet.transport());
    let name = fragment::name(&packet.tuple, id);
    // SAFETY: a live entry of the map; nobody changes it.
    let Some(entry) = (unsafe { A::fragments().get(&name) }) else { return Ok(Followed::Unknown) };
    if now().wrapping_sub(entry.last_seen) > SECONDS {
        return Ok(Followed::Unknown);
    }
    if entry.flags == 0 {
        return Ok(Followed::Plain);
    }
    if entry.flags & flags::DIRECT != 0 {
        return Ok(Followed::Direct);
    }
    packet.service = entry.service;
    packet.readdress(&entry.to)?;
    Ok(Followed::Translated)
}

/// What became of the first fragment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// It has not come yet, or long ago.
    Unknown,
    /// Nobody translated it.
    Plain,
    /// It was translated, and now this one is.
    Translated,
    /// It goes to another node as it is, see [`first`].
    Direct,
}

/// What is remembered of a fragment's first.
#[inline(always)]
pub fn first<A: Parse>(packet: &Packet<A>) -> Option<&'static mut Entry<A>> {
    let name = fragment::name(&packet.tuple, A::fragment_id(packet.skb, packet.transport()));
    // SAFETY: a live entry of the map; races with other CPUs lose a way at most.
    A::fragments().get_ptr_mut(&name).map(|entry| unsafe { &mut *entry })
}

/// Lets a later fragment wait for its first; false: there is no room.
#[inline(never)]
pub fn hold<A: Parse>(packet: &Packet<A>) -> bool {
    let Some(room) = HOLDING.get_ptr_mut(0) else { return false };
    let Some(length) = packet::bounded(packet::length(packet.skb), ETHERNET as u32, MASK) else {
        return false;
    };
    let name = fragment::name(&packet.tuple, A::fragment_id(packet.skb, packet.transport()));
    let mut key = fragment::place(&name, 0);
    // SAFETY: this CPU's own room, whose size bounds the length.
    unsafe {
        if bpf_skb_load_bytes(packet.skb.cast(), 0, (&raw mut (*room).bytes).cast(), length) != 0 {
            return false;
        }
        (*room).length = length;
        (*room).since = now();
        for place in 0..PLACES {
            key.pad[1] = place;
            if HELD.insert(&key, &*room, BPF_NOEXIST as u64).is_ok() {
                return true;
            }
        }
    }
    false
}

/// Lets a first fragment, and after it those that waited for it, come in by the device again. False: nobody waits.
#[inline(never)]
pub fn release<A: Parse>(packet: &Packet<A>) -> bool {
    let (skb, device) = (packet.skb, packet::ifindex(packet.skb));
    let name = fragment::name(&packet.tuple, A::fragment_id(skb, packet.transport()));
    let mut key = fragment::place(&name, 0);
    if HELD.get_ptr(&key).is_none() {
        return false;
    }
    // SAFETY: the kernel copies the packet; the helpers check bounds.
    unsafe { bpf_clone_redirect(skb, device, INGRESS) };
    for place in 0..PLACES {
        key.pad[1] = place;
        // SAFETY: a live entry of the map: if it is given away meanwhile, another waiting frame goes in its place.
        let Some(held) = (unsafe { HELD.get(&key) }) else { continue };
        let fresh = now().wrapping_sub(held.since) <= SECONDS;
        if let Some(behind) = packet::bounded(held.length - ETHERNET as u32, 1, MASK)
            && fresh
        {
            let bytes = held.bytes.as_ptr().cast_mut();
            // SAFETY: the map's value has as many bytes; the helpers check the packet's bounds. The link addresses
            // are not part of a sum that the device has made.
            unsafe {
                let sums = BPF_F_RECOMPUTE_CSUM as u64;
                let mut failed = bpf_skb_change_tail(skb, behind + ETHERNET as u32, 0);
                failed |= bpf_skb_store_bytes(skb, 0, bytes.cast(), ETHERNET as u32, 0);
                let rest = bytes.add(ETHERNET).cast();
                failed |= bpf_skb_store_bytes(skb, ETHERNET as u32, rest, behind, sums);
                if failed == 0 {
                    bpf_clone_redirect(skb, device, INGRESS);
                }
            }
        }
        let _ = HELD.remove(&key);
    }
    true
}

/// Whether a later fragment could belong to a translated packet: it is for a pod of this node, for the node, or for a Service.
#[inline(always)]
pub fn concerns<A: Parse>(packet: &Packet<A>) -> bool {
    let to = packet.tuple.destination;
    deliver::pod(&to).is_some()
        || to == A::node_address()
        || to.in_service_range()
        || super::service::find(to, 0, 0).is_some()
}

/// Whether the packet is a first fragment.
#[inline(always)]
pub fn is_first<A: Parse>(packet: &Packet<A>) -> bool {
    packet.kind == Kind::First && packet.has_ports()
}
