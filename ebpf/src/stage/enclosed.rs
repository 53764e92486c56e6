//! Packets between nodes that have a header of their own around them: IP in IP, of one family (RFC 2003, RFC 2473). They reach
//! a node that is not next on the way, and keep what a client has sent as it was.

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_FIXED_GSO,
};
use aya_ebpf::helpers::{bpf_skb_adjust_room, bpf_skb_store_bytes};
use fairway_common::{V4, V6};

use crate::ip::Ip;
use crate::packet::{self, ETHERNET, Parse};
use crate::stage::tunnel;

/// Puts a header in front of a packet: from this node to another one. False: there is no room.
///
/// Segments keep their size: what fits was decided before. A function of its own, for its stack.
#[inline(never)]
pub fn put<A: Ip>(skb: *mut __sk_buff, far: &A) -> bool {
    let payload = packet::length(skb).wrapping_sub(ETHERNET as u32);
    let mut header = [0u8; 40];
    A::write_header(&mut header, A::node_address(), *far, A::ENCLOSED, payload as u16);
    let family = if A::VERSION == 4 { BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 } else { BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 };
    let flags = (family | BPF_F_ADJ_ROOM_FIXED_GSO) as u64;
    // SAFETY: the kernel's context; the helpers check bounds.
    unsafe {
        bpf_skb_adjust_room(skb, A::HEADER as i32, BPF_ADJ_ROOM_MAC, flags) == 0
            && bpf_skb_store_bytes(skb, ETHERNET as u32, header.as_mut_ptr().cast(), A::HEADER as u32, 0) == 0
    }
}

/// Takes the header off a packet from another node; everything else is left as it is.
#[inline(always)]
pub fn take(skb: *mut __sk_buff) {
    if !packet::for_this_host(skb) {
        return;
    }
    match packet::ethertype(skb) {
        0x0800 => take_from::<V4>(skb),
        0x86dd => take_from::<V6>(skb),
        _ => {}
    }
}

#[inline(never)]
fn take_from<A: Parse>(skb: *mut __sk_buff) {
    let Some(source) = packet::enclosing::<A>(skb) else { return };
    if tunnel::find(&source).is_some_and(|network| network.node == 1) {
        // SAFETY: the kernel's context. What cannot be changed is the kernel's business.
        unsafe {
            bpf_skb_adjust_room(skb, -(A::HEADER as i32), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO as u64)
        };
    }
}
