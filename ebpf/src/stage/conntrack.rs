//! Connections that are translated on the wire: found, recorded, with a source port of their own where needed.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns};
use fairway_common::conntrack::{Entry, Tuple, flags, observe, tcp, tick};
use fairway_common::pod::Pod;
use fairway_common::{Reason, limits};

use crate::ip::Ip;
use crate::packet::Packet;
use crate::settings;

#[inline(always)]
fn now() -> u32 {
    // SAFETY: no arguments, no effects.
    tick(unsafe { bpf_ktime_get_coarse_ns() })
}

/// Finds the packet's connection and notes that it was seen. A SYN on a connection that has ended finds nothing:
/// it starts a new one (S45).
#[inline(always)]
pub fn find<A: Ip>(packet: &Packet<A>) -> Option<&'static Entry<A>> {
    let entry = A::conntrack().get_ptr_mut(&packet.tuple)?;
    let seen = observe(packet.tuple.protocol, packet.tcp_flags);
    // SAFETY: a live entry of the map; races with other CPUs lose a mark at most.
    unsafe {
        if packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN && ended(&*entry) {
            return None;
        }
        let now = now();
        // Writing what is there already would only move the cache line between CPUs.
        if (*entry).last_seen != now {
            (*entry).last_seen = now;
        }
        if (*entry).flags & seen != seen {
            (*entry).flags |= seen;
        }
        Some(&*entry)
    }
}

/// Whether either direction has closed the connection: a SYN of the client then means a new one.
#[inline(always)]
fn ended<A: Ip>(entry: &Entry<A>) -> bool {
    let closed = flags::FIN | flags::RST;
    // SAFETY: one word is read.
    let other = unsafe { A::conntrack().get(entry.to.reversed()).map(|entry| entry.flags) };
    (entry.flags | other.unwrap_or(0)) & closed != 0
}

/// Whether both directions have closed a connection, and nothing has come for a while: late segments still translate
/// (S48), and a reset alone may be spurious (S46).
#[inline(always)]
fn abandoned<A: Ip>(entry: &Entry<A>) -> bool {
    // SAFETY: one word is read.
    let other = unsafe { A::conntrack().get(entry.to.reversed()).map(|entry| entry.flags) };
    let closed = entry.flags & other.unwrap_or(flags::FIN) & flags::FIN != 0;
    closed && now().wrapping_sub(entry.last_seen) > limits::LINGER
}

/// Records a new connection: its packets become `to`, whose source port may change on the way, since the key of the
/// replies must be nobody else's.
///
/// A function of its own: only the first packet of a connection pays for it, and its stack is its own.
#[inline(never)]
pub fn create<A: Ip>(
    packet: &Packet<A>,
    to: &mut Tuple<A>,
    service: u32,
    backend: u32,
) -> Result<(), Reason> {
    if to.source == A::UNSPECIFIED {
        return Err(Reason::NoRoute);
    }
    let mut entry =
        Entry { to: packet.tuple.reversed(), last_seen: now(), flags: flags::REPLY, service, backend };
    let translates_source = to.source != packet.tuple.source;
    // One key for all: kernels before 6.8 count stacks in steps of 32 bytes, and there is none to spare.
    let mut key = to.reversed();
    claim(&mut key, &entry, translates_source)?;
    to.source_port = key.destination_port;
    entry.to = *to;
    entry.flags = observe(packet.tuple.protocol, packet.tcp_flags);
    if A::conntrack().insert(&packet.tuple, &entry, 0).is_err() {
        let _ = A::conntrack().remove(&key);
        return Err(Reason::ConntrackFull);
    }
    if let Some(pod) = A::pods().get_ptr_mut(packet.tuple.source) {
        // SAFETY: a live entry; the bit is only ever set.
        unsafe {
            if (*pod).flags & Pod::TRANSLATES == 0 {
                (*pod).flags |= Pod::TRANSLATES;
            }
        }
    }
    Ok(())
}

/// Inserts the reply entry under a key that is free, changing the key's destination port until one is.
#[inline(always)]
fn claim<A: Ip>(key: &mut Tuple<A>, reply: &Entry<A>, translates_source: bool) -> Result<(), Reason> {
    for attempt in 0..limits::PORT_TRIES {
        if attempt > 0 || translates_source {
            key.destination_port = port();
        }
        match A::conntrack().insert(&*key, reply, BPF_NOEXIST as u64) {
            Ok(()) => return Ok(()),
            Err(error) if error != -17 => return Err(Reason::ConntrackFull),
            Err(_) => {}
        }
        // SAFETY: compared at once.
        let mine = unsafe {
            A::conntrack().get(&*key).is_some_and(|entry| entry.to == reply.to || abandoned(entry))
        };
        if mine && A::conntrack().insert(&*key, reply, 0).is_ok() {
            return Ok(());
        }
    }
    Err(Reason::SourcePortsExhausted)
}

/// A port of the node's range, network byte order.
#[inline(always)]
fn port() -> u16 {
    let count = settings::nat_port_count();
    // SAFETY: no arguments, no effects.
    let random = unsafe { bpf_get_prandom_u32() };
    let offset = if count == 0 { 0 } else { random % count };
    ((settings::nat_port_first() + offset) as u16).to_be()
}
