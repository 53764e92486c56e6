//! Packets from outside that go to the node of their backend as they are (direct server return): only link addresses and
//! the time to live change. That node has the same Maglev tables, picks the same backend, and answers the client itself.

use aya_ebpf::bindings::{BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, bpf_redir_neigh as Neighbour};
use aya_ebpf::helpers::bpf_redirect_neigh;
use fairway_common::Reason;
use fairway_common::conntrack::{Entry, Hop, Tuple, flags, tcp};
use fairway_common::link::Link;
use fairway_common::service::{Frontend, backend_flags};

use crate::packet::{self, Kind, Packet, Parse};
use crate::settings;
use crate::stage::deliver;
use crate::stage::service::Choice;
use crate::stage::{conntrack, tunnel};

/// Whether the first packet of a connection, or one of a connection that is not known, may go as it is.
#[inline(always)]
pub fn applies<A: Parse>(packet: &Packet<A>, frontend: &Frontend, choice: &Choice<A>) -> bool {
    settings::direct()
        && frontend.flags & Frontend::DIRECT != 0
        && choice.backend.flags & backend_flags::LOCAL == 0
        && packet.kind == Kind::Whole
        && packet.ttl > 1
}

/// Whether a packet that leaves the node came by the same device: it is on its way as it is.
#[inline(always)]
pub fn leaves<A: Parse>(packet: &Packet<A>, frontend: &Frontend) -> bool {
    settings::direct()
        && frontend.flags & Frontend::DIRECT != 0
        && packet::came_by(packet.skb) == packet::ifindex(packet.skb)
}

/// Sends it to the backend's node. False: no node is next on the way there, and nothing has happened.
///
/// Nothing is noted of a SYN: the tables say the same of the next packet. From then on the connection has an entry, so that
/// it stays where it is when the tables change (S41).
#[inline(always)]
pub fn begin<A: Parse>(packet: &mut Packet<A>, choice: &Choice<A>) -> Result<bool, Reason> {
    let pending = conntrack::pending()?;
    pending.to = packet.tuple;
    pending.to.destination = choice.backend.address;
    pending.to.destination_port = choice.backend.port;
    let to = pending.to;
    if !send(packet, &to, &mut pending.entry.hop)? {
        return Ok(false);
    }
    if packet.tcp_flags & (tcp::SYN | tcp::ACK) != tcp::SYN {
        conntrack::note(packet, pending, choice.id, flags::DIRECT)?;
    }
    Ok(true)
}

/// A packet of a known connection.
#[inline(always)]
pub fn follow<A: Parse>(packet: &mut Packet<A>, entry: &mut Entry<A>) -> Result<(), Reason> {
    if deliver::fits(packet, &entry.hop) {
        return deliver::leave(packet, &entry.hop);
    }
    if packet.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let to = entry.to;
    if send(packet, &to, &mut entry.hop)? { Ok(()) } else { Err(Reason::NoRoute) }
}

/// Sends a packet where one of the tuple `to` would go, if that is a node, and learns the way.
///
/// A function of its own: its look-up takes 64 bytes of stack.
#[inline(never)]
fn send<A: Parse>(packet: &mut Packet<A>, to: &Tuple<A>, learnt: &mut Hop) -> Result<bool, Reason> {
    let (mut fib, length) = (deliver::NOWHERE, packet.longest());
    let skb = packet.skb;
    let result = deliver::look_up(skb.cast(), packet::ifindex(skb), to, length, &mut fib);
    let found = result == BPF_FIB_LKUP_RET_SUCCESS as i64;
    if !found && result != BPF_FIB_LKUP_RET_NO_NEIGH as i64 {
        return Ok(false);
    }
    // The look-up has written the gateway, if there is one, over the destination.
    // SAFETY: the union holds an address of either family.
    let next: A = unsafe { (&raw const fib.__bindgen_anon_4).cast::<A>().read() };
    if tunnel::find(&next).is_none_or(|network| network.node != 1) {
        return Ok(false);
    }
    if found {
        *learnt = deliver::way(&fib);
        deliver::leave(packet, learnt)?;
        return Ok(true);
    }
    packet.hop(Link::default())?;
    // SAFETY: zero is a valid value of every field; the structure lives on this stack, its size is given.
    packet.verdict = unsafe {
        let mut neighbour: Neighbour = core::mem::zeroed();
        neighbour.nh_family = A::AF as u32;
        neighbour.__bindgen_anon_1.ipv6_nh = fib.__bindgen_anon_4.ipv6_dst;
        bpf_redirect_neigh(fib.ifindex, &mut neighbour, size_of::<Neighbour>() as i32, 0)
    } as i32;
    Ok(true)
}
