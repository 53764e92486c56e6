//! Beyond this node: what is known there, and the tunnels to other nodes (VXLAN, RFC 7348).
//!
//! One device carries all tunnels; each packet says by a key which node it goes to. Its own link addresses mean nothing
//! to anybody: a packet whose key is set comes from `SENDER_MAC`, one that the kernel has routed there does not.

use aya_ebpf::bindings::{__sk_buff, BPF_F_TUNINFO_IPV6, BPF_F_ZERO_CSUM_TX};
use aya_ebpf::helpers::{bpf_redirect, bpf_skb_get_tunnel_key, bpf_skb_set_tunnel_key};
use aya_ebpf::maps::lpm_trie;
use fairway_common::link::Link;
use fairway_common::network::{Network, SENDER_MAC, TUNNEL_MAC};
use fairway_common::{Reason, UDP, V4, V6, ranges};

use crate::ip::Ip;
use crate::maps::NETWORKS;
use crate::packet::{self, Packet, Parse};
use crate::settings;
use crate::stage::deliver::{DROP, PASS};

/// The first fields of `struct bpf_tunnel_key`: kernels take this size too (5.19).
#[repr(C)]
#[derive(Default)]
struct Key {
    id: u32,
    /// IPv4 in host byte order, IPv6 as in the packet.
    remote: V6,
    tos: u8,
    ttl: u8,
    flags: u16,
    label: u32,
}

/// The link addresses in tunnels: the same ones everywhere.
const LINK: Link = Link::new(SENDER_MAC, TUNNEL_MAC);
/// Time to live of the packets around.
const TTL: u8 = 64;

/// What is known of an address beyond this node; none: it is the world's.
#[inline(never)]
pub fn find<A: Ip>(address: &A) -> Option<&'static Network> {
    let key = lpm_trie::Key { prefix_len: ranges::PREFIX + 128, data: ranges::source(0, *address) };
    NETWORKS.get(&key)
}

/// The tunnel that leads to an address.
#[inline(always)]
pub fn to<A: Ip>(address: &A) -> Option<&'static Network> {
    if settings::tunnel() == 0 {
        return None;
    }
    find(address).filter(|network| network.family != 0)
}

/// Whether a packet came by a tunnel of a known node, with this network's number (S88).
#[inline(never)]
pub fn admits(skb: *mut __sk_buff) -> bool {
    let mut key = Key::default();
    let size = size_of::<Key>() as u32;
    let pointer = (&raw mut key).cast();
    // SAFETY: the structure lives on this stack, its size is given.
    let network = unsafe {
        if bpf_skb_get_tunnel_key(skb, pointer, size, 0) == 0 {
            find::<V4>(&[key.remote[0].to_be()])
        } else if bpf_skb_get_tunnel_key(skb, pointer, size, BPF_F_TUNINFO_IPV6 as u64) == 0 {
            find::<V6>(&key.remote)
        } else {
            None
        }
    };
    key.id == settings::tunnel_id() && network.is_some_and(|network| network.node == 1)
}

/// Whether a pod's packet to a node, or to the world, pretends to be one of a tunnel: it could come from an address that
/// other nodes know.
#[inline(always)]
pub fn is_forged<A: Ip>(packet: &Packet<A>, network: Option<&Network>) -> bool {
    packet.tuple.protocol == UDP
        && u16::from_be(packet.tuple.destination_port) as u32 == settings::tunnel_port()
        && network.is_none_or(|network| network.node == 1)
}

/// Whether the packet goes into a tunnel as it is; if not, the kernel says what becomes of it.
#[inline(always)]
pub fn fits<A: Parse>(packet: &Packet<A>, network: &Network) -> bool {
    packet.ttl > 1 && packet.longest() <= network.mtu
}

/// Sends a packet whose addresses are final into a tunnel. `own`: the node's own stack has sent it, and it is not one hop
/// older.
///
/// A function of its own: the key takes stack.
#[inline(never)]
pub fn enter<A: Parse>(packet: &mut Packet<A>, network: &Network, own: bool) -> Result<(), Reason> {
    if packet.ttl <= 1 && !own {
        return Err(Reason::TtlExceeded);
    }
    // What may be cut, the kernel cuts with all that is around it.
    if packet.longest() > network.mtu && packet.stays_whole() {
        packet.mtu = network.mtu as u32;
        return Err(Reason::TooBig);
    }
    if own {
        packet.link(LINK)?;
    } else {
        packet.hop(LINK)?;
    }
    if !address(packet.skb, network) {
        return Err(Reason::RewriteFailed);
    }
    // SAFETY: no pointers.
    packet.verdict = unsafe { bpf_redirect(settings::tunnel(), 0) } as i32;
    Ok(())
}

/// Writes the key: which node the packet goes to.
#[inline(always)]
fn address(skb: *mut __sk_buff, network: &Network) -> bool {
    let mut key = Key { id: settings::tunnel_id(), ttl: TTL, ..Key::default() };
    let flags = if network.family == 6 {
        key.remote = network.tunnel;
        BPF_F_TUNINFO_IPV6 as u64
    } else {
        key.remote[0] = u32::from_be(network.tunnel[0]);
        // The packet inside has its own checksum (RFC 7348, 5).
        BPF_F_ZERO_CSUM_TX as u64
    };
    // SAFETY: the structure lives on this stack, its size is given.
    unsafe { bpf_skb_set_tunnel_key(skb, (&raw mut key).cast(), size_of::<Key>() as u32, flags) == 0 }
}

/// Addresses a packet that the kernel has routed to the tunnels' device. What is for nobody there ends.
#[inline(always)]
pub fn seal(skb: *mut __sk_buff) -> i32 {
    match packet::ethertype(skb) {
        0x0800 => seal_to::<V4>(skb),
        0x86dd => seal_to::<V6>(skb),
        _ => DROP,
    }
}

#[inline(never)]
fn seal_to<A: Parse>(skb: *mut __sk_buff) -> i32 {
    let network = match packet::destination::<A>(skb) {
        Some(destination) => find(&destination).filter(|network| network.family != 0),
        None => None,
    };
    match network {
        Some(network) if packet::relink(skb, LINK) && address(skb, network) => PASS,
        _ => DROP,
    }
}

/// Whether the packet's key is set.
#[inline(always)]
pub fn is_sealed(skb: *mut __sk_buff) -> bool {
    packet::sender(skb) == Some(SENDER_MAC)
}
