//! ICMP errors about translated packets: the sender of the packet is told, in the terms that it knows (S40, S83).
//!
//! An error quotes a packet as it was after translation. The entry of its replies holds the way back: what a reply
//! becomes, reversed, is the packet as it was before (RFC 5508).

use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use fairway_common::conntrack::Tuple;
use fairway_common::{TCP, UDP};

use crate::ip::checksum_offset;
use crate::packet::{ETHERNET, Packet, Parse, ZERO_MEANS_NONE};
use crate::stage::conntrack;

/// Bytes of an ICMP header, in front of the quote.
const HEADER: usize = 8;

/// Translates an error and what it quotes. 0: nothing that this node has translated; 1: done; else failed.
///
/// The connection is neither made nor kept alive by it: anybody may send an error. There is no stack to spare: the
/// packet's tuple becomes the key on the way.
#[inline(never)]
pub fn translate<A: Parse>(packet: &mut Packet<A>) -> i32 {
    let quote = packet.transport() + HEADER;
    let found = A::quoted(packet.skb, quote);
    let protocol = found as u8;
    if found == u64::MAX || protocol != TCP && protocol != UDP {
        return 0;
    }
    let ports = (found >> 16) as u32;
    packet.tuple.protocol = protocol;
    let entry = if reply_key(packet, quote, ports) { conntrack::get(&packet.tuple) } else { None };
    let Some(entry) = entry else {
        packet.tuple = packet.original;
        return 0;
    };
    // SAFETY: a live entry of the map; its tuple never changes.
    let (to, service) = unsafe { (&(*entry).to, (*entry).service) };
    packet.service = service;
    let sum = rewrite_quote(packet, to, (quote as u64) << 32 | ports as u64);
    // Who could not deliver it: the backend itself, which the sender knows by another name, or a router.
    let router = packet.original.source != packet.tuple.source;
    packet.tuple = packet.original;
    packet.tuple.destination = to.destination;
    if !router {
        packet.tuple.source = to.source;
    }
    if sum != i64::MIN && rewrite_header(packet, sum) { 1 } else { -1 }
}

/// Reads the tuple of the replies to the quoted packet.
#[inline(always)]
fn reply_key<A: Parse>(packet: &mut Packet<A>, quote: usize, ports: u32) -> bool {
    let (skb, size) = (packet.skb.cast(), size_of::<A>() as u32);
    let addresses = (quote + A::ADDRESSES) as u32;
    let key = &mut packet.tuple;
    // SAFETY: the helper checks the packet's bounds, and the sizes are those of the fields.
    unsafe {
        let mut failed = bpf_skb_load_bytes(skb, addresses, (&raw mut key.destination).cast(), size);
        failed |= bpf_skb_load_bytes(skb, addresses + size, (&raw mut key.source).cast(), size);
        failed |= bpf_skb_load_bytes(skb, ports, (&raw mut key.destination_port).cast(), 2);
        failed |= bpf_skb_load_bytes(skb, ports + 2, (&raw mut key.source_port).cast(), 2);
        failed == 0
    }
}

/// Writes the addresses of the error itself, and its checksum; `sum`: by how much the rest of it has changed.
#[inline(always)]
fn rewrite_header<A: Parse>(packet: &mut Packet<A>, mut sum: i64) -> bool {
    let (skb, size) = (packet.skb, 2 * size_of::<A>() as u32);
    let old = (&raw mut packet.original.source).cast::<u32>();
    let new = (&raw mut packet.tuple.source).cast::<u32>();
    // SAFETY: source and destination of a tuple are neighbours; the helpers check the packet's bounds.
    unsafe {
        let mut failed = 0;
        if let Some(offset) = A::CHECKSUM {
            let difference = bpf_csum_diff(old, size, new, size, 0) as u64;
            failed |= bpf_l3_csum_replace(skb, (ETHERNET + offset) as u32, 0, difference, 0);
        } else {
            // The pseudo header. A sum of the device over the whole packet stays true: all changes cancel out in it.
            sum = bpf_csum_diff(old, size, new, size, sum as u32);
        }
        failed |= bpf_l4_csum_replace(skb, packet.transport() as u32 + 2, 0, sum as u64, 0);
        failed | bpf_skb_store_bytes(skb, (ETHERNET + A::ADDRESSES) as u32, new.cast(), size, 0) == 0
    }
}

/// Writes the quoted packet as its sender sent it; `at`: where its header and its ports stand. Returns by how much the
/// sum over the ICMP message has changed; `i64::MIN`: failed.
///
/// A sum does not care for order: the reversed tuples give the same differences.
#[inline(never)]
fn rewrite_quote<A: Parse>(packet: &Packet<A>, to: &Tuple<A>, at: u64) -> i64 {
    let key = &packet.tuple;
    let skb = packet.skb;
    let (quote, ports) = ((at >> 32) as u32, at as u32);
    let size = size_of::<A>() as u32;
    let checksum = ports + checksum_offset(key.protocol) as u32;
    let flags = if key.protocol == UDP { ZERO_MEANS_NONE } else { 0 };
    // Before and after, each as one word.
    let mut sums = [[0u16; 2]; 2];
    // SAFETY: source and destination of a tuple are neighbours, and so are its ports; the helpers check bounds.
    unsafe {
        let old = (&raw const key.source).cast_mut().cast::<u32>();
        let new = (&raw const to.source).cast_mut().cast::<u32>();
        let addresses = bpf_csum_diff(old, 2 * size, new, 2 * size, 0);
        let old_ports = (&raw const key.source_port).cast_mut().cast::<u32>();
        let new_ports = (&raw const to.source_port).cast_mut().cast::<u32>();
        let mut sum = bpf_csum_diff(old_ports, 4, new_ports, 4, 0);
        let mut failed = 0;
        // Many errors quote no more than the ports.
        if bpf_skb_load_bytes(skb.cast(), checksum, sums[0].as_mut_ptr().cast(), 2) == 0 {
            failed |= bpf_l4_csum_replace(skb, checksum, 0, addresses as u64, flags);
            failed |= bpf_l4_csum_replace(skb, checksum, 0, sum as u64, flags);
            failed |= bpf_skb_load_bytes(skb.cast(), checksum, sums[1].as_mut_ptr().cast(), 2);
            let [before, after] = &mut sums;
            sum = bpf_csum_diff(before.as_mut_ptr().cast(), 4, after.as_mut_ptr().cast(), 4, sum as u32);
        }
        if let Some(offset) = A::CHECKSUM {
            // The header's own checksum keeps its sum as it was.
            failed |= bpf_l3_csum_replace(skb, quote + offset as u32, 0, addresses as u64, 0);
        } else {
            sum = bpf_csum_diff(old, 2 * size, new, 2 * size, sum as u32);
        }
        let place = quote + A::ADDRESSES as u32;
        failed |= bpf_skb_store_bytes(skb, place, (&raw const to.destination).cast_mut().cast(), size, 0);
        failed |= bpf_skb_store_bytes(skb, place + size, (&raw const to.source).cast_mut().cast(), size, 0);
        failed |= bpf_skb_store_bytes(skb, ports, (&raw const to.destination_port).cast_mut().cast(), 2, 0);
        failed |= bpf_skb_store_bytes(skb, ports + 2, (&raw const to.source_port).cast_mut().cast(), 2, 0);
        if failed == 0 { sum } else { i64::MIN }
    }
}
