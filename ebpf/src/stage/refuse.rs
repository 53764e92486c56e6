//! Answers for a Service without backends: TCP RST, or ICMP port unreachable (S31, S32).

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_l4_csum_replace, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use fairway_common::conntrack::{Tuple, tcp};
use fairway_common::{Reason, TCP, V6};

use crate::ip::Ip;
use crate::packet::{ETHERNET, Packet};

/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;

/// Turns the packet into its own refusal and sends it back; `flags` as for a redirect out of the packet's device.
#[inline(always)]
pub fn answer<A: Ip>(packet: &mut Packet<A>, flags: u64) -> Result<(), Reason> {
    // A reset is not answered, and a header with options is not worth it.
    if packet.tcp_flags & tcp::RST != 0 || packet.transport != ETHERNET + A::HEADER {
        return Err(Reason::NoBackend);
    }
    let sent = if packet.tuple.protocol == TCP {
        reset::<A>(packet.skb, &packet.tuple)
    } else {
        unreachable::<A>(packet.skb, &packet.tuple)
    };
    if sent != 0 {
        return Err(Reason::RewriteFailed);
    }
    packet.verdict = super::deliver::turn(packet.skb, flags);
    Ok(())
}

/// Sum over the pseudo header and a payload, folded and complemented.
#[inline(always)]
fn transport_checksum<A: Ip>(tuple: &Tuple<A>, protocol: u8, payload: *const u8, length: u32) -> u16 {
    let pseudo = [u32::to_be(length), u32::to_be(protocol as u32)];
    let addresses = 2 * size_of::<A>() as u32;
    // SAFETY: all ranges are on this stack; lengths are multiples of four.
    unsafe {
        let sum = bpf_csum_diff(
            core::ptr::null_mut(),
            0,
            (&raw const tuple.source).cast_mut().cast(),
            addresses,
            0,
        );
        let sum = bpf_csum_diff(core::ptr::null_mut(), 0, pseudo.as_ptr().cast_mut(), 8, sum as u32);
        fold(bpf_csum_diff(core::ptr::null_mut(), 0, payload.cast_mut().cast(), length, sum as u32))
    }
}

/// Folds a sum to 16 bits and complements it.
#[inline(always)]
fn fold(sum: i64) -> u16 {
    let mut sum = sum as u64 & 0xffff_ffff;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// Swaps the link addresses and writes the IP header of an answer.
#[inline(always)]
fn write_headers<A: Ip>(skb: *mut __sk_buff, tuple: &Tuple<A>, protocol: u8, payload: usize) -> i64 {
    let mut link = [0u16; 6];
    let mut header = [0u8; 40];
    A::write_header(&mut header, tuple.destination, tuple.source, protocol, payload as u16);
    // SAFETY: the helpers check bounds.
    unsafe {
        let mut failed = bpf_skb_load_bytes(skb.cast(), 0, link.as_mut_ptr().cast(), 12);
        let mut swapped = [link[3], link[4], link[5], link[0], link[1], link[2]];
        failed |= bpf_skb_store_bytes(skb, 0, swapped.as_mut_ptr().cast(), 12, 0);
        failed | bpf_skb_store_bytes(skb, ETHERNET as u32, header.as_mut_ptr().cast(), A::HEADER as u32, 0)
    }
}

/// Makes the packet a reset of its own connection (RFC 9293, 3.10.7.1). 0: done.
#[inline(never)]
fn reset<A: Ip>(skb: *mut __sk_buff, tuple: &Tuple<A>) -> i64 {
    let start = ETHERNET + A::HEADER;
    let mut old = [0u32; 5];
    // SAFETY: the helper checks bounds.
    if unsafe { bpf_skb_load_bytes(skb.cast(), start as u32, old.as_mut_ptr().cast(), TCP_HEADER as u32) }
        != 0
    {
        return -1;
    }
    // Word 3: data offset, flags, window.
    let word = u32::from_be(old[3]);
    let seen = (word >> 16) as u8;
    let (sequence, acknowledgment, answer) = if seen & tcp::ACK != 0 {
        (u32::from_be(old[2]), 0, tcp::RST)
    } else {
        // By the header: short frames are padded.
        let mut length = 0u16;
        // SAFETY: the helper checks bounds.
        unsafe {
            bpf_skb_load_bytes(skb.cast(), (ETHERNET + A::LENGTH.0) as u32, (&raw mut length).cast(), 2)
        };
        let payload = (u16::from_be(length) as usize).wrapping_sub(A::LENGTH.1);
        let data = payload.wrapping_sub(((word >> 28) as usize) * 4) as u32;
        let flags = ((seen & tcp::SYN) >> 1) as u32 + (seen & tcp::FIN) as u32;
        (0, u32::from_be(old[1]).wrapping_add(data).wrapping_add(flags), tcp::RST | tcp::ACK)
    };
    let mut header = [
        ((u16::from_be(tuple.destination_port) as u32) << 16 | u16::from_be(tuple.source_port) as u32)
            .to_be(),
        sequence.to_be(),
        acknowledgment.to_be(),
        (5 << 28 | (answer as u32) << 16).to_be(),
        0,
    ];
    // SAFETY: the helpers check bounds; the sum runs over this stack.
    unsafe {
        if bpf_skb_change_tail(skb, (start + TCP_HEADER) as u32, 0) != 0 {
            return -1;
        }
        let mut failed = write_headers(skb, tuple, TCP, TCP_HEADER);
        failed |= bpf_skb_store_bytes(skb, start as u32, header.as_mut_ptr().cast(), TCP_HEADER as u32, 0);
        let full = transport_checksum(tuple, TCP, header.as_ptr().cast(), TCP_HEADER as u32);
        failed | store_checksum(skb, (start + 16) as u32, full, tuple)
    }
}

/// Stores a TCP checksum; where the device computes it (CHECKSUM_PARTIAL) the field holds the pseudo header's sum.
#[inline(always)]
unsafe fn store_checksum<A: Ip>(skb: *mut __sk_buff, offset: u32, full: u16, tuple: &Tuple<A>) -> i64 {
    // SAFETY: the helpers check bounds.
    unsafe {
        // The field is zero now. A change outside the pseudo header is ignored for a partial checksum only.
        let mut probe = 0u16;
        let mut failed = bpf_l4_csum_replace(skb, offset, 0, 1, 2);
        failed |= bpf_skb_load_bytes(skb.cast(), offset, (&raw mut probe).cast(), 2);
        let mut value = if probe == 0 { !pseudo_checksum(tuple) } else { full };
        failed | bpf_skb_store_bytes(skb, offset, (&raw mut value).cast(), 2, 0)
    }
}

#[inline(always)]
fn pseudo_checksum<A: Ip>(tuple: &Tuple<A>) -> u16 {
    let nothing = [0u32; 1];
    let pseudo = [u32::to_be(TCP_HEADER as u32), u32::to_be(TCP as u32)];
    let addresses = 2 * size_of::<A>() as u32;
    // SAFETY: all ranges are on this stack.
    unsafe {
        let sum = bpf_csum_diff(
            core::ptr::null_mut(),
            0,
            (&raw const tuple.source).cast_mut().cast(),
            addresses,
            0,
        );
        let sum = bpf_csum_diff(core::ptr::null_mut(), 0, pseudo.as_ptr().cast_mut(), 8, sum as u32);
        fold(bpf_csum_diff(core::ptr::null_mut(), 0, nothing.as_ptr().cast_mut(), 4, sum as u32))
    }
}

/// Makes the packet an ICMP "port unreachable" that quotes itself. 0: done.
#[inline(never)]
fn unreachable<A: Ip>(skb: *mut __sk_buff, tuple: &Tuple<A>) -> i64 {
    // Type, code, checksum, unused; then the quote.
    let mut message = [0u32; 14];
    let kind = A::PORT_UNREACHABLE;
    let size = 8 + A::QUOTED;
    message[0] = u32::from_ne_bytes([kind[0], kind[1], 0, 0]);
    // SAFETY: `message` has 8 + 48 bytes, the quote at most 48; the helpers check the packet's bounds.
    unsafe {
        let quote = message.as_mut_ptr().add(2);
        if bpf_skb_load_bytes(skb.cast(), ETHERNET as u32, quote.cast(), A::QUOTED as u32) != 0 {
            return -1;
        }
        if bpf_skb_change_tail(skb, (ETHERNET + A::HEADER + size) as u32, 0) != 0 {
            return -1;
        }
        let checksum = if size_of::<A>() == size_of::<V6>() {
            transport_checksum(tuple, A::ICMP, message.as_ptr().cast(), size as u32)
        } else {
            fold(bpf_csum_diff(core::ptr::null_mut(), 0, message.as_mut_ptr(), size as u32, 0))
        };
        message[0] |= u32::from_ne_bytes([0, 0, checksum.to_ne_bytes()[0], checksum.to_ne_bytes()[1]]);
        let failed = write_headers(skb, tuple, A::ICMP, size);
        failed
            | bpf_skb_store_bytes(
                skb,
                (ETHERNET + A::HEADER) as u32,
                message.as_mut_ptr().cast(),
                size as u32,
                0,
            )
    }
}
