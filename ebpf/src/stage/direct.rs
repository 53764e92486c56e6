//! Packets from outside that go to the node of their backend as they are (direct server return). That node has the same
//! Maglev tables, picks the same backend, and answers the client itself. Where it is next on the way only link addresses and
//! the time to live change; otherwise the packet gets a header of its own, see [`enclosed`].

use core::ffi::c_void;

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as Fib,
    bpf_redir_neigh as Neighbour,
};
use aya_ebpf::helpers::bpf_redirect_neigh;
use fairway_common::Reason;
use fairway_common::conntrack::{Entry, Hop, flags, tcp};
use fairway_common::event::Hook;
use fairway_common::link::Link;
use fairway_common::service::{Frontend, backend_flags};

use crate::ip::Ip;
use crate::packet::{self, Kind, Packet, Parse};
use crate::settings;
use crate::stage::service::Choice;
use crate::stage::{conntrack, deliver, enclosed, report, tunnel};

/// What no look-up of a route answers: no node is next on the way, or it is not known whose pod the backend is.
const NO_NODE: i64 = -1;

/// Whether packets to a backend may go as they are.
#[inline(always)]
pub fn applies<A: Ip>(frontend: &Frontend, choice: &Choice<A>) -> bool {
    settings::direct()
        && frontend.flags & Frontend::DIRECT != 0
        && choice.backend.flags & backend_flags::LOCAL == 0
}

/// Whether a packet that leaves the node came by the same device: it is on its way as it is.
#[inline(always)]
pub fn leaves<A: Parse>(packet: &Packet<A>, frontend: &Frontend) -> bool {
    settings::direct()
        && frontend.flags & Frontend::DIRECT != 0
        && packet::came_by(packet.skb) == packet::ifindex(packet.skb)
}

/// Sends the first packet of a connection, or one of a connection that is not known, to the backend's node. False: that
/// cannot be done, and nothing has happened.
///
/// Nothing is noted of a SYN: the tables say the same of the next packet. From then on the connection has an entry, so that
/// it stays where it is when the tables change (S41).
#[inline(always)]
pub fn begin<A: Parse>(packet: &mut Packet<A>, choice: &Choice<A>, hook: Hook) -> Result<bool, Reason> {
    if packet.kind != Kind::Whole || packet.ttl <= 1 {
        return Ok(false);
    }
    let pending = conntrack::pending()?;
    pending.entry.to = packet.tuple;
    pending.entry.to.destination = choice.backend.address;
    pending.entry.to.destination_port = choice.backend.port;
    match send(packet, &mut pending.entry) {
        Ok(()) => {}
        Err(Reason::NoRoute) => return Ok(false),
        // The way that it takes with this node's address has more room, and cuts what may be cut.
        Err(Reason::TooBig) if !packet.stays_whole() => return Ok(false),
        Err(reason) => return Err(reason),
    }
    if packet.tcp_flags & (tcp::SYN | tcp::ACK) != tcp::SYN {
        conntrack::note(packet, pending, choice.id, flags::DIRECT)?;
    }
    depart(packet, &pending.entry, hook)?;
    Ok(true)
}

/// A packet of a known connection.
#[inline(always)]
pub fn follow<A: Parse>(packet: &mut Packet<A>, entry: &mut Entry<A>, hook: Hook) -> Result<(), Reason> {
    if deliver::fits(packet, &entry.hop) {
        deliver::leave(packet, &entry.hop)?;
    } else if packet.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    } else {
        send(packet, entry)?;
    }
    depart(packet, entry, hook)
}

/// What is left to do where the way is known.
#[inline(always)]
fn depart<A: Parse>(packet: &mut Packet<A>, entry: &Entry<A>, hook: Hook) -> Result<(), Reason> {
    report::packet(hook, Reason::Direct, packet);
    match node_of(entry) {
        Some(node) if !enclosed::put(packet.skb, node) => Err(Reason::RewriteFailed),
        _ => Ok(()),
    }
}

/// The node that a direct connection's packets get a header for, if they get one.
#[inline(always)]
pub fn node_of<A: Ip>(entry: &Entry<A>) -> Option<&A> {
    if settings::encloses() && entry.far != A::UNSPECIFIED { Some(&entry.far) } else { None }
}

/// Sends a packet on the way to its connection's backend, and learns the way. No route: no node is there, and nothing has
/// happened.
///
/// A function of its own: its look-up takes 64 bytes of stack.
#[inline(never)]
fn send<A: Parse>(packet: &mut Packet<A>, entry: &mut Entry<A>) -> Result<(), Reason> {
    let (mut fib, length) = (deliver::NOWHERE, packet.longest());
    let skb = packet.skb;
    let result = seek(skb.cast(), packet::ifindex(skb), entry, length, &mut fib);
    if result == BPF_FIB_LKUP_RET_SUCCESS as i64 {
        entry.hop = way::<A>(&fib);
        return deliver::leave(packet, &entry.hop);
    }
    if result == BPF_FIB_LKUP_RET_FRAG_NEEDED as i64 {
        packet.mtu = way::<A>(&fib).mtu as u32;
        return Err(Reason::TooBig);
    }
    if result != BPF_FIB_LKUP_RET_NO_NEIGH as i64 {
        return Err(Reason::NoRoute);
    }
    packet.hop(Link::default())?;
    // SAFETY: zero is a valid value of every field; the structure lives on this stack, its size is given.
    packet.verdict = unsafe {
        let mut neighbour: Neighbour = core::mem::zeroed();
        neighbour.nh_family = A::AF as u32;
        neighbour.__bindgen_anon_1.ipv6_nh = fib.__bindgen_anon_4.ipv6_dst;
        bpf_redirect_neigh(fib.ifindex, &mut neighbour, size_of::<Neighbour>() as i32, 0)
    } as i32;
    Ok(())
}

/// Bytes of the header that packets get on their way.
#[inline(always)]
fn around<A: Ip>() -> u16 {
    if settings::encloses() { A::HEADER as u16 } else { 0 }
}

/// Asks the kernel's routes for the way to a connection's backend, of packets of a length that came by a device; `ctx`: of
/// the program. Notes which node takes them. Returns what the look-up answers, or that no node is there.
#[inline(always)]
pub fn seek<A: Ip>(ctx: *mut c_void, device: u32, entry: &mut Entry<A>, length: u16, fib: &mut Fib) -> i64 {
    let mut to = entry.to;
    entry.far = A::UNSPECIFIED;
    if settings::encloses() {
        let Some(network) = tunnel::find(&to.destination) else { return NO_NODE };
        if network.family != A::VERSION || A::node_address() == A::UNSPECIFIED {
            return NO_NODE;
        }
        entry.far = A::from_wide(network.tunnel);
        (to.source, to.destination, to.protocol) = (A::node_address(), entry.far, A::ENCLOSED);
    }
    let result = deliver::look_up(ctx, device, &to, length.saturating_add(around::<A>()), fib);
    let known = result == BPF_FIB_LKUP_RET_SUCCESS as i64 || result == BPF_FIB_LKUP_RET_NO_NEIGH as i64;
    if settings::encloses() || !known {
        return result;
    }
    // The look-up has written the gateway, if there is one, over the destination.
    // SAFETY: the union holds an address of either family.
    let next: A = unsafe { (&raw const fib.__bindgen_anon_4).cast::<A>().read() };
    if tunnel::find(&next).is_some_and(|network| network.node == 1) { result } else { NO_NODE }
}

/// The way that a look-up has found, and what fits there.
#[inline(always)]
pub fn way<A: Ip>(fib: &Fib) -> Hop {
    let way = deliver::way(fib);
    Hop { mtu: way.mtu.saturating_sub(around::<A>()), ..way }
}
