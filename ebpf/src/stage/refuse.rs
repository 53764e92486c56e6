//! Answers to packets that go no further: TCP RST, or an ICMP error (S31, S32, S82, S84).

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_l4_csum_replace, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use fairway_common::conntrack::{Tuple, tcp};
use fairway_common::{Reason, TCP, V6};

use crate::ip::Ip;
use crate::packet::{self, ETHERNET, Kind, Packet, Parse};

/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;
/// An ICMP error quotes the header with its options, and eight bytes of what the packet carries; so many bytes more than
/// without options, in words.
const LONGER: u32 = 0x3f;
/// Room for a quote: of IPv6, whose header is the longer one.
const QUOTE: usize = 40 + 8 + LONGER as usize + 1;

/// Turns a packet that was dropped for a reason into its sender's answer, if the reason has one, and sends it back;
/// `flags` as for a redirect out of the packet's device.
#[inline(always)]
pub fn answer<A: Parse>(packet: &mut Packet<A>, reason: Reason, flags: u64) {
    // Errors and resets are not answered, and a later fragment has nothing to know it by.
    let answered = !matches!(packet.kind, Kind::Later | Kind::Error) && packet.tcp_flags & tcp::RST == 0;
    let sent = match reason {
        _ if !answered => return,
        Reason::NoBackend | Reason::UndefinedPort if packet.tuple.protocol == TCP => {
            reset::<A>(packet.skb, &packet.tuple, packet.transport())
                | write_headers::<A>(packet.skb, &packet.tuple, TCP, TCP_HEADER)
        }
        Reason::NoBackend | Reason::UndefinedPort => error(packet, A::PORT_UNREACHABLE, 0, false),
        // A process of the node would take a packet from the node's address for a lie.
        Reason::TooBig => error(packet, A::TOO_BIG, packet.mtu, flags == 0),
        Reason::TtlExceeded => error(packet, A::TIME_EXCEEDED, 0, flags == 0),
        _ => return,
    };
    if sent == 0 {
        packet.verdict = super::deliver::turn(packet.skb, flags);
    }
}

/// Makes the packet, as it came, an ICMP error about itself; from the node's address (`router`) or from the one that
/// the packet was sent to. 0: done.
#[inline(always)]
fn error<A: Parse>(packet: &mut Packet<A>, kind: [u8; 2], extra: u32, router: bool) -> i64 {
    let mut ends = packet.original;
    if packet.tuple != ends && packet.rewrite(&ends).is_err() {
        return -1;
    }
    let node = A::node_address();
    if router && node != A::UNSPECIFIED {
        ends.destination = node;
    }
    let message = (extra as u64) << 32 | u16::from_be_bytes(kind) as u64;
    let size = packet.transport() - ETHERNET + 8;
    let failed = quote::<A>(packet.skb, &ends, message, size);
    failed | write_headers::<A>(packet.skb, &ends, A::ICMP, size + 8)
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

/// Swaps the link addresses and writes the IP header of an answer. 0: done.
///
/// Not nested in what writes the rest: there is no stack to spare.
#[inline(never)]
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
fn reset<A: Ip>(skb: *mut __sk_buff, tuple: &Tuple<A>, transport: usize) -> i64 {
    let start = ETHERNET + A::HEADER;
    let mut old = [0u32; 5];
    // SAFETY: the helper checks bounds.
    if unsafe { bpf_skb_load_bytes(skb.cast(), transport as u32, old.as_mut_ptr().cast(), TCP_HEADER as u32) }
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
        let payload = (u16::from_be(length) as usize).wrapping_sub(A::LENGTH.1 + transport - start);
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
        let failed = bpf_skb_store_bytes(skb, start as u32, header.as_mut_ptr().cast(), TCP_HEADER as u32, 0);
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

/// Makes the packet an ICMP error that quotes its first `size` bytes; `message`: the extra word, then type and code.
/// 0: done.
#[inline(never)]
fn quote<A: Ip>(skb: *mut __sk_buff, ends: &Tuple<A>, message: u64, size: usize) -> i64 {
    // Type, code, checksum, extra; then the quote.
    let mut words = [0u32; 2 + QUOTE / 4];
    words[0] = u32::from_ne_bytes([(message >> 8) as u8, message as u8, 0, 0]);
    words[1] = ((message >> 32) as u32).to_be();
    let Some(size) = packet::bounded(size as u32, (A::HEADER + 8) as u32, LONGER) else { return -1 };
    let total = size + 8;
    // SAFETY: `words` has 8 + QUOTE bytes, the quote at most QUOTE; the helpers check the packet's bounds.
    unsafe {
        let place = words.as_mut_ptr().add(2);
        if bpf_skb_load_bytes(skb.cast(), ETHERNET as u32, place.cast(), size) != 0 {
            return -1;
        }
        if bpf_skb_change_tail(skb, (ETHERNET + A::HEADER) as u32 + total, 0) != 0 {
            return -1;
        }
        let checksum = if size_of::<A>() == size_of::<V6>() {
            transport_checksum(ends, A::ICMP, words.as_ptr().cast(), total)
        } else {
            fold(bpf_csum_diff(core::ptr::null_mut(), 0, words.as_mut_ptr(), total, 0))
        };
        words[0] |= u32::from_ne_bytes([0, 0, checksum.to_ne_bytes()[0], checksum.to_ne_bytes()[1]]);
        let start = (ETHERNET + A::HEADER) as u32;
        bpf_skb_store_bytes(skb, start, words.as_mut_ptr().cast(), total, 0)
    }
}
