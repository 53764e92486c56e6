//! Where a packet goes once its addresses are final.

use core::ffi::c_void;

use aya_ebpf::bindings::{
    __sk_buff, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH,
    BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as Fib,
};
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer};
use fairway_common::Reason;
use fairway_common::conntrack::{Hop, Tuple, hop};
use fairway_common::link::Link;
use fairway_common::pod::{Pod, place};

use crate::ip::Ip;
use crate::packet::{self, Packet, Parse};
use crate::stage::tunnel;

/// Left to whatever comes next: other programs, then the kernel (`TCX_NEXT`, `TC_ACT_UNSPEC`).
pub const PASS: i32 = -1;
/// `TC_ACT_SHOT`.
pub const DROP: i32 = 2;
/// `BPF_F_INGRESS`.
pub const INGRESS: u64 = 1;

/// The pod of this node that has an address.
#[inline(always)]
pub fn pod<A: Ip>(address: &A) -> Option<&'static Pod> {
    let near = A::near().get(place(*address))?;
    if near.address == *address && near.pod.ifindex != 0 {
        return Some(&near.pod);
    }
    if near.pod.others == 0 {
        return None;
    }
    // SAFETY: pods are added and removed by user space; a stale one names a device that is gone.
    unsafe { A::pods().get(address) }
}

/// Hands the packet to a pod from a device's ingress: straight into its namespace, or out of its device on the node's side
/// where that one's qdisc limits what the pod receives. `to_pod` sees it there once more, and finds nothing to translate.
#[inline(always)]
pub fn to_peer<A: Parse>(packet: &mut Packet<A>, pod: &Pod, learnt: Option<&mut Hop>) -> Result<(), Reason> {
    if packet.ttl <= 1 {
        // The kernel answers "time exceeded"; about a translated packet it would tell of addresses nobody knows.
        return if packet.tuple == packet.original { Ok(()) } else { Err(Reason::TtlExceeded) };
    }
    let way = Hop {
        ifindex: pod.ifindex,
        mtu: u16::MAX,
        kind: if pod.flags & Pod::SHAPED == 0 { hop::PEER } else { hop::OUT },
        pad: 0,
        link: pod.link,
    };
    leave(packet, &way)?;
    if let Some(learnt) = learnt {
        *learnt = way;
    }
    Ok(())
}

/// Whether a packet can go where the last one of its connection went.
#[inline(always)]
pub fn fits<A: Parse>(packet: &Packet<A>, way: &Hop) -> bool {
    way.kind != hop::NONE && packet.ttl > 1 && packet.longest() <= way.mtu
}

/// One hop.
#[inline(always)]
pub fn leave<A: Parse>(packet: &mut Packet<A>, way: &Hop) -> Result<(), Reason> {
    packet.hop(way.link)?;
    take(packet, way);
    Ok(())
}

/// Sends a packet, whose link addresses are those of its next hop, on its way.
#[inline(always)]
pub fn take<A: Parse>(packet: &mut Packet<A>, way: &Hop) {
    // SAFETY: no pointers.
    packet.verdict = unsafe {
        match way.kind {
            hop::PEER => bpf_redirect_peer(way.ifindex, 0),
            _ => bpf_redirect(way.ifindex, 0),
        }
    } as i32;
}

/// Hands the packet to a pod from a device's egress.
#[inline(always)]
pub fn to_pod<A: Parse>(packet: &mut Packet<A>, pod: &Pod) -> Result<(), Reason> {
    packet.link(pod.link)?;
    // SAFETY: no pointers.
    packet.verdict = unsafe { bpf_redirect(pod.ifindex, 0) } as i32;
    Ok(())
}

/// Brings a packet of this node that has become one for this node back in: for the kernel it arrives at the device.
#[inline(always)]
pub fn to_node<A: Parse>(packet: &mut Packet<A>) -> Result<(), Reason> {
    packet.link_to_self()?;
    packet.verdict = turn(packet.skb, INGRESS);
    Ok(())
}

/// Sends the packet back out of the device it is at, or into the node by it.
#[inline(always)]
pub fn turn(skb: *mut __sk_buff, flags: u64) -> i32 {
    // SAFETY: no pointers.
    unsafe { bpf_redirect(packet::ifindex(skb), flags) as i32 }
}

/// Sends a translated packet on: by the tunnel of its node, or by its route. `own`: see [`route`].
///
/// Between nodes themselves nothing is in tunnels: the other node's replies come outside of them, and its kernel may take
/// a packet for a lie that comes by another device than it would answer by (`rp_filter`).
#[inline(always)]
pub fn onward<A: Parse>(packet: &mut Packet<A>, own: bool, learnt: Option<&mut Hop>) -> Result<(), Reason> {
    match tunnel::to(&packet.tuple.destination) {
        Some(network) if network.node == 0 || packet.tuple.source != A::node_address() => {
            tunnel::enter(packet, network, own)
        }
        _ => route(packet, own, learnt),
    }
}

/// An empty question to the kernel's routes.
// SAFETY: zero is a valid value of every field.
pub const NOWHERE: Fib = unsafe { core::mem::zeroed() };

/// Asks the kernel's routes for the way of a packet that came by a device, `length` bytes long; `ctx`: of the program.
#[inline(always)]
pub fn look_up<A: Ip>(ctx: *mut c_void, device: u32, tuple: &Tuple<A>, length: u16, fib: &mut Fib) -> i64 {
    fib.family = A::AF;
    fib.l4_protocol = tuple.protocol;
    fib.ifindex = device;
    // With a length the kernel compares it with the route's MTU, and says that MTU.
    fib.__bindgen_anon_1.tot_len = length;
    // The unions hold an address of either family; IPv4 takes the first word.
    fib.__bindgen_anon_3.ipv6_src = tuple.source.to_wide();
    fib.__bindgen_anon_4.ipv6_dst = tuple.destination.to_wide();
    // SAFETY: the structure is the caller's, its size is given.
    unsafe { bpf_fib_lookup(ctx, fib, size_of::<Fib>() as i32, 0) }
}

/// The way that a successful look-up has found.
#[inline(always)]
pub fn way(fib: &Fib) -> Hop {
    Hop {
        ifindex: fib.ifindex,
        // SAFETY: both fields of the union are this number.
        mtu: unsafe { fib.__bindgen_anon_1.mtu_result },
        kind: hop::OUT,
        pad: 0,
        link: Link::new(fib.smac, fib.dmac),
    }
}

/// Routes a translated packet: it may have an address of the node as its source, which the kernel's own input would
/// take for a lie. A packet for the node itself is passed; one that the node's own stack has sent (`own`) and that has
/// become one for the node is brought back in, and is not one hop older.
///
/// A function of its own: its look-up takes 64 bytes of stack.
#[inline(never)]
fn route<A: Parse>(packet: &mut Packet<A>, own: bool, learnt: Option<&mut Hop>) -> Result<(), Reason> {
    let (mut fib, length) = (NOWHERE, packet.longest());
    let result = look_up(packet.skb.cast(), packet::ifindex(packet.skb), &packet.tuple, length, &mut fib);
    if result == BPF_FIB_LKUP_RET_NOT_FWDED as i64 {
        return if own { to_node(packet) } else { Ok(()) };
    }
    if own {
        // A look-up that failed has left the device as it was: the one that the packet was leaving by.
        // SAFETY: no parameters: the kernel looks the next hop up and resolves it.
        packet.verdict = unsafe { bpf_redirect_neigh(fib.ifindex, core::ptr::null_mut(), 0, 0) } as i32;
        return Ok(());
    }
    // Forwarding is off: the kernel says what becomes of the packet.
    if result == BPF_FIB_LKUP_RET_FWD_DISABLED as i64 {
        return Ok(());
    }
    if packet.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    if result == BPF_FIB_LKUP_RET_FRAG_NEEDED as i64 {
        // What may be cut, and has a source that the kernel believes, it cuts.
        if !packet.stays_whole() && packet.tuple.source != A::node_address() {
            return Ok(());
        }
        // SAFETY: both fields of the union are this number.
        packet.mtu = unsafe { fib.__bindgen_anon_1.mtu_result } as u32;
        return Err(Reason::TooBig);
    }
    if result == BPF_FIB_LKUP_RET_SUCCESS as i64 {
        let way = way(&fib);
        leave(packet, &way)?;
        if let Some(learnt) = learnt {
            *learnt = way;
        }
        return Ok(());
    }
    if result != BPF_FIB_LKUP_RET_NO_NEIGH as i64 {
        return Err(Reason::NoRoute);
    }
    packet.hop(Link::default())?;
    // SAFETY: no parameters: the kernel looks the next hop up and resolves it.
    packet.verdict = unsafe { bpf_redirect_neigh(fib.ifindex, core::ptr::null_mut(), 0, 0) } as i32;
    Ok(())
}
