//! Connections that are translated on the wire: found, recorded, with a source port of their own where needed.

use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST};
use aya_ebpf::helpers::{bpf_loop, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use fairway_common::conntrack::{Entry, Hop, Sums, Tuple, flags, hop, observe, tcp};
use fairway_common::service::{FrontendKey, backend_flags};
use fairway_common::{Reason, TCP, UDP, limits};

use crate::ip::Ip;
use crate::maps::{OVERFLOWED, Pending};
use crate::packet::{Kind, Packet};
use crate::settings;
use crate::stage::clock::{self, now};
use crate::stage::{report, service};

/// What a full table answers.
const FULL: i32 = -7;
/// What an insertion answers when another CPU was faster.
const TAKEN: i32 = -17;

/// `BPF_F_CURRENT_NETNS`.
const CURRENT_NAMESPACE: u64 = u64::MAX;
/// The first port that Linux hands out by itself.
const EPHEMERAL: u32 = 32_768;
/// The first one above them.
const HIGH: u32 = 61_000;
/// No flag of an insertion: the key is somebody else's.
const BUSY: u64 = u64::MAX;

/// Finds the packet's connection and notes that it was seen. A SYN on a connection that has ended finds nothing:
/// it starts a new one (S45).
///
/// What the entry says of its hop is from an earlier tick, and forgotten, when this is the first packet of one.
#[inline(always)]
pub fn find<A: Ip>(packet: &Packet<A>) -> Option<&'static mut Entry<A>> {
    let entry = get(&packet.tuple)?;
    let seen = observe(packet.tuple.protocol, packet.tcp_flags);
    // SAFETY: a live entry of the map; races with other CPUs lose a mark at most.
    unsafe {
        if packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN && ended(&*entry) {
            if (*entry).flags & flags::DIRECT != 0 {
                // The new one may go elsewhere, and its SYN is not recorded.
                let _ = A::conntrack().remove(&packet.tuple);
            }
            return None;
        }
        if packet.tuple.protocol == UDP && moved(&*entry) {
            return None;
        }
        let now = now();
        // Writing what is there already would only move the cache line between CPUs.
        if (*entry).last_seen != now {
            (*entry).last_seen = now;
            (*entry).hop.kind = hop::NONE;
        }
        if (*entry).flags & seen != seen {
            (*entry).flags |= seen;
        }
        Some(&mut *entry)
    }
}

/// Whether a packet from outside that is for no pod may be of a known connection, or begin one: it is for a frontend, or an
/// answer to a source port of this node's choice.
#[inline(always)]
pub fn may_know<A: Ip>(packet: &Packet<A>) -> bool {
    packet.kind == Kind::Echo || may_lead(&packet.tuple)
}

/// The same of a packet with ports.
#[inline(always)]
pub fn may_lead<A: Ip>(tuple: &Tuple<A>) -> bool {
    is_drawn(tuple.destination_port)
        || u16::from_be(tuple.destination_port) < limits::PRIVILEGED
        || service::may_be(&FrontendKey::new(tuple.destination, tuple.destination_port, tuple.protocol))
}

/// The entry of a tuple.
#[inline(always)]
pub fn get<A: Ip>(tuple: &Tuple<A>) -> Option<*mut Entry<A>> {
    A::conntrack().get_ptr_mut(tuple).or_else(|| match OVERFLOWED.get(0) {
        Some(0) | None => None,
        Some(_) => A::overflow().get_ptr_mut(tuple),
    })
}

/// Writes an entry; `flags` as for a map. A full table lets established connections be: a new one goes where the one
/// that was silent longest makes room (S53).
#[inline(always)]
fn put<A: Ip>(tuple: &Tuple<A>, entry: &Entry<A>, flags: u64) -> Result<(), i32> {
    let result = A::conntrack().insert(tuple, entry, flags);
    if result != Err(FULL) {
        return result;
    }
    if let Some(overflowed) = OVERFLOWED.get_ptr_mut(0) {
        // SAFETY: a live entry of the map.
        unsafe { *overflowed = 1 };
    }
    report::count(Reason::ConntrackOverflow, 0);
    A::overflow().insert(tuple, entry, flags)
}

/// Whether the client's backend is no longer there for it: a UDP flow, unlike a TCP connection, goes on with another one
/// (S54 to S59).
#[inline(always)]
pub fn moved<A: Ip>(entry: &Entry<A>) -> bool {
    // To the world leads no Service.
    if entry.flags & flags::REPLY != 0 || entry.service == 0 {
        return false;
    }
    A::backends().get(entry.backend).is_none_or(|backend| {
        backend.flags & backend_flags::GONE != 0
            || backend.service != entry.service
            || backend.port != entry.to.destination_port
            || backend.address != entry.to.destination
    })
}

/// Whether either direction has closed the connection: a SYN of the client then means a new one.
#[inline(always)]
fn ended<A: Ip>(entry: &Entry<A>) -> bool {
    let closed = flags::FIN | flags::RST;
    (entry.flags | other(entry).unwrap_or(0)) & closed != 0
}

/// The flags of the other direction.
#[inline(always)]
fn other<A: Ip>(entry: &Entry<A>) -> Option<u32> {
    // SAFETY: one word of a live entry is read.
    get(&entry.to.reversed()).map(|entry| unsafe { (*entry).flags })
}

/// Whether both directions have closed a connection, and nothing has come for a while: late segments still translate
/// (S48), and a reset alone may be spurious (S46).
#[inline(always)]
fn abandoned<A: Ip>(entry: &Entry<A>) -> bool {
    let closed = entry.flags & other(entry).unwrap_or(flags::FIN) & flags::FIN != 0;
    closed && now().wrapping_sub(entry.last_seen) > limits::LINGER
}

/// The connection that this CPU is recording.
#[inline(always)]
pub fn pending<A: Ip>() -> Result<&'static mut Pending<A>, Reason> {
    let pending = A::pending().get_ptr_mut(0).ok_or(Reason::ConntrackFull)?;
    // SAFETY: of this CPU, on which nothing else runs programs of a device meanwhile; the entry is always there.
    Ok(unsafe { &mut *pending })
}

/// Records a new connection: its packets become `pending.to`, whose source port may change on the way, since the key of
/// the replies must be nobody else's.
///
/// A function of its own: only the first packet of a connection pays for it, and its stack is its own.
#[inline(never)]
pub fn create<A: Ip>(packet: &Packet<A>, pending: &mut Pending<A>, backend: u32) -> Result<(), Reason> {
    if pending.to.source == A::UNSPECIFIED {
        return Err(Reason::NoRoute);
    }
    pending.key = pending.to.reversed();
    // Ports, which may change yet, are not in them.
    let sums = add_up(&packet.tuple, &pending.to);
    pending.entry = Entry {
        to: packet.tuple.reversed(),
        last_seen: now(),
        flags: flags::REPLY,
        service: packet.service,
        backend,
        hop: Hop::default(),
        sums: sums.back(),
        far: A::UNSPECIFIED,
        rest: Default::default(),
    };
    claim(packet, pending)?;
    pending.to.source_port = pending.key.destination_port;
    pending.entry.to = pending.to;
    pending.entry.sums = sums;
    pending.entry.flags = observe(packet.tuple.protocol, packet.tcp_flags);
    if put(&packet.tuple, &pending.entry, 0).is_err() {
        let _ = A::conntrack().remove(&pending.key);
        return Err(Reason::ConntrackFull);
    }
    Ok(())
}

/// The sums of both directions of a connection.
///
/// A function of its own: there is no stack to spare.
#[inline(never)]
fn add_up<A: Ip>(from: &Tuple<A>, to: &Tuple<A>) -> Sums {
    from.sums(to)
}

/// Notes where a connection goes whose packets stay as they are, as `pending.entry` says already.
#[inline(never)]
pub fn note<A: Ip>(
    packet: &Packet<A>,
    pending: &mut Pending<A>,
    backend: u32,
    more: u32,
) -> Result<(), Reason> {
    pending.entry.last_seen = now();
    pending.entry.flags = observe(packet.tuple.protocol, packet.tcp_flags) | more;
    pending.entry.service = packet.service;
    pending.entry.backend = backend;
    put(&packet.tuple, &pending.entry, 0).map_err(|_| Reason::ConntrackFull)
}

/// What [`attempt`] works on.
struct Claim<'a, A: Ip> {
    skb: *mut __sk_buff,
    /// Its key's destination port changes until it is free.
    pending: &'a mut Pending<A>,
    /// How the key is to be inserted.
    found: u64,
}

/// Inserts the reply entry under a key that is free, changing the key's destination port until one is.
#[inline(always)]
fn claim<A: Ip>(packet: &Packet<A>, pending: &mut Pending<A>) -> Result<(), Reason> {
    // Nearly always the first one is free.
    if is_open(packet.skb, pending) {
        match put(&pending.key, &pending.entry, BPF_NOEXIST as u64) {
            Ok(()) => return Ok(()),
            Err(TAKEN) => {}
            Err(_) => return Err(Reason::ConntrackFull),
        }
    }
    let mut claim = Claim { skb: packet.skb, pending, found: BUSY };
    let step: extern "C" fn(u32, *mut Claim<'_, A>) -> i64 = attempt::<A>;
    // SAFETY: the callback gets this very structure, which outlives the call.
    unsafe { bpf_loop(limits::PORT_TRIES, step as *mut _, (&raw mut claim).cast(), 0) };
    if claim.found == BUSY {
        return Err(Reason::SourcePortsExhausted);
    }
    match put(&claim.pending.key, &claim.pending.entry, claim.found) {
        Ok(()) => Ok(()),
        // Another CPU was faster: with another packet of this connection, or with another one, and the client tries
        // again.
        // SAFETY: a live entry, compared at once.
        Err(TAKEN) => match get(&claim.pending.key) {
            Some(entry) if unsafe { (*entry).to == claim.pending.entry.to } => Ok(()),
            _ => Err(Reason::SourcePortsExhausted),
        },
        Err(_) => Err(Reason::ConntrackFull),
    }
}

/// Tries one port: the one that the key has, the client's own, others of the node's range. 1: it is the one, and no other is tried.
extern "C" fn attempt<A: Ip>(index: u32, claim: *mut Claim<'_, A>) -> i64 {
    // SAFETY: what `claim` gave to the loop.
    let claim = unsafe { &mut *claim };
    let Pending { key, entry: reply, .. } = &mut *claim.pending;
    let translates_source = translates_source(key, reply);
    match index {
        0 => {}
        // Replies to a client of this node have a port of its range.
        1 if !translates_source && !is_drawn(key.destination_port) => {
            key.destination_port = reply.to.destination_port
        }
        _ => key.destination_port = port(clock::random()),
    }
    if !is_open(claim.skb, claim.pending) {
        return 0;
    }
    let Pending { key, entry: reply, .. } = &mut *claim.pending;
    claim.found = match get(&*key) {
        None => BPF_NOEXIST as u64,
        // SAFETY: a live entry, compared at once.
        Some(entry) if unsafe { (*entry).to == reply.to || abandoned(&*entry) } => 0,
        Some(_) => return 0,
    };
    1
}

/// Whether the client's address changes.
#[inline(always)]
fn translates_source<A: Ip>(key: &Tuple<A>, reply: &Entry<A>) -> bool {
    key.destination != reply.to.destination
}

/// Whether no socket of the node waits at the port that the replies would have.
#[inline(always)]
fn is_open<A: Ip>(skb: *mut __sk_buff, pending: &Pending<A>) -> bool {
    let Pending { key, entry: reply, .. } = pending;
    !translates_source(key, reply) || !matches!(key.protocol, TCP | UDP) || !listens(skb, key)
}

/// Whether a socket of the node waits for packets like these replies: its port is not free (S78).
#[inline(always)]
fn listens<A: Ip>(skb: *mut __sk_buff, reply: &Tuple<A>) -> bool {
    // Addresses and ports stand as in `struct bpf_sock_tuple`.
    let tuple = (&raw const *reply).cast_mut().cast();
    let (skb, size) = (skb.cast(), 2 * size_of::<A>() as u32 + 4);
    // SAFETY: the tuple is at least as long as its size says; a socket that was found is given back at once.
    unsafe {
        let socket = if reply.protocol == UDP {
            bpf_sk_lookup_udp(skb, tuple, size, CURRENT_NAMESPACE, 0)
        } else {
            bpf_skc_lookup_tcp(skb, tuple, size, CURRENT_NAMESPACE, 0)
        };
        if socket.is_null() {
            return false;
        }
        bpf_sk_release(socket.cast());
    }
    true
}

/// Ports that a connection may show in place of its client's.
#[derive(Clone, Copy)]
pub enum Ports {
    /// The node's range, `--nat-ports`.
    Node,
    /// Those above what Linux hands out by itself, which few use.
    High,
}

/// A port that stands for a client's port, network byte order: in the node's range, if it is as large, different ones for
/// all that Linux hands out by itself (32768 to 60999).
#[inline(always)]
pub fn apart(client: u16, ports: Ports) -> u16 {
    let number = (u16::from_be(client) as u32).wrapping_sub(EPHEMERAL);
    match ports {
        Ports::Node => port(number),
        Ports::High => ((HIGH + number % (0x1_0000 - HIGH)) as u16).to_be(),
    }
}

/// Whether a port is of the node's range; network byte order.
#[inline(always)]
fn is_drawn(port: u16) -> bool {
    (u16::from_be(port) as u32).wrapping_sub(settings::nat_port_first()) < settings::nat_port_count()
}

/// A port of the node's range, network byte order.
#[inline(always)]
fn port(number: u32) -> u16 {
    let count = settings::nat_port_count();
    let offset = if count == 0 { 0 } else { number % count };
    ((settings::nat_port_first() + offset) as u16).to_be()
}
