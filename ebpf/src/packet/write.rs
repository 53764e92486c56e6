//! Changing a packet: addresses, ports, link addresses, time to live, and every checksum over them.

use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_csum_update, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_store_bytes,
};
use fairway_common::conntrack::Tuple;
use fairway_common::{ICMP, Reason, UDP};

use super::{ETHERNET, Kind, Packet, Parse, at, relink};
use crate::ip::checksum_offset;

/// `BPF_F_PSEUDO_HDR`: the change is part of the pseudo header.
const PSEUDO_HEADER: u64 = 1 << 4;
/// `BPF_F_MARK_MANGLED_0`: a UDP checksum of zero means none and stays zero (S94).
pub const ZERO_MEANS_NONE: u64 = 1 << 5;

impl<A: Parse> Packet<A> {
    /// Rewrites addresses and ports, and the checksums over them.
    ///
    /// A function of its own: the verifier walks its calls once where they are written, and its stack is its own.
    #[inline(never)]
    pub fn rewrite(&mut self, to: &Tuple<A>) -> Result<(), Reason> {
        let skb = self.skb;
        let size = 2 * size_of::<A>() as u32;
        let checksum = (self.transport + checksum_offset(self.tuple.protocol)) as u32;
        let flags = if self.tuple.protocol == UDP { ZERO_MEANS_NONE } else { 0 };
        // SAFETY: source and destination of a tuple are neighbours, and so are its ports; the helpers check bounds.
        let failed = unsafe {
            let old = (&raw const self.tuple.source).cast_mut().cast::<u32>();
            let new = (&raw const to.source).cast_mut().cast::<u32>();
            let difference = bpf_csum_diff(old, size, new, size, 0) as u64;
            let old_ports = (&raw const self.tuple.source_port).cast::<u32>().read() as u64;
            let new_ports = (&raw const to.source_port).cast::<u32>().read() as u64;
            // ICMP for IPv4 alone has no addresses in its sum.
            let mut failed = if self.tuple.protocol == ICMP {
                0
            } else {
                bpf_l4_csum_replace(skb, checksum, 0, difference, flags | PSEUDO_HEADER)
            };
            failed |= bpf_l4_csum_replace(skb, checksum, old_ports, new_ports, flags | 4);
            if let Some(offset) = A::CHECKSUM {
                failed |= bpf_l3_csum_replace(skb, (ETHERNET + offset) as u32, 0, difference, 0);
            } else {
                // Without a header checksum the addresses and the transport checksum cancel out in a sum that the
                // device made over the whole packet; the helper has counted the latter alone.
                bpf_csum_update(skb, difference as u32);
            }
            failed |= bpf_skb_store_bytes(skb, (ETHERNET + A::ADDRESSES) as u32, new.cast(), size, 0);
            let ports = (&raw const to.source_port).cast_mut();
            if self.kind == Kind::Echo {
                // A ping's id: one of the two is zero.
                let mut id = to.source_port | to.destination_port;
                failed | bpf_skb_store_bytes(skb, self.transport as u32 + 4, (&raw mut id).cast(), 2, 0)
            } else {
                failed | bpf_skb_store_bytes(skb, self.transport as u32, ports.cast(), 4, 0)
            }
        };
        if failed != 0 {
            return Err(Reason::RewriteFailed);
        }
        self.tuple = *to;
        Ok(())
    }

    /// Rewrites the addresses of a later fragment: the checksum over them stands in the first one.
    #[inline(always)]
    pub fn readdress(&mut self, to: &Tuple<A>) -> Result<(), Reason> {
        let (skb, size) = (self.skb, 2 * size_of::<A>() as u32);
        // SAFETY: source and destination of a tuple are neighbours; the helpers check bounds.
        let failed = unsafe {
            let old = (&raw const self.tuple.source).cast_mut().cast::<u32>();
            let new = (&raw const to.source).cast_mut().cast::<u32>();
            let difference = bpf_csum_diff(old, size, new, size, 0) as u64;
            let failed = match A::CHECKSUM {
                Some(offset) => bpf_l3_csum_replace(skb, (ETHERNET + offset) as u32, 0, difference, 0),
                // A sum of the device over the whole packet sees the addresses change, and nothing else.
                None => bpf_csum_update(skb, difference as u32).min(0),
            };
            failed | bpf_skb_store_bytes(skb, (ETHERNET + A::ADDRESSES) as u32, new.cast(), size, 0)
        };
        if failed != 0 && A::CHECKSUM.is_some() {
            return Err(Reason::RewriteFailed);
        }
        (self.tuple.source, self.tuple.destination) = (to.source, to.destination);
        Ok(())
    }

    /// Addresses the packet to the device it is leaving by.
    #[inline(always)]
    pub fn link_to_self(&mut self) -> Result<(), Reason> {
        let addresses = at::<[[u8; 6]; 2]>(self.skb, 0).ok_or(Reason::Malformed)?;
        // SAFETY: bounds checked by `at`.
        unsafe {
            let own = addresses.read()[1];
            addresses.write([own, own]);
        }
        Ok(())
    }

    /// Writes the link addresses.
    #[inline(always)]
    pub fn link(&mut self, source: [u8; 6], destination: [u8; 6]) -> Result<(), Reason> {
        if relink(self.skb, source, destination) { Ok(()) } else { Err(Reason::Malformed) }
    }

    /// One hop: counts the time to live down and writes the link addresses. The caller has checked the time to live.
    #[inline(always)]
    pub fn hop(&mut self, source: [u8; 6], destination: [u8; 6]) -> Result<(), Reason> {
        self.link(source, destination)?;
        let ttl = at::<u8>(self.skb, ETHERNET + A::TTL).ok_or(Reason::Malformed)?;
        // SAFETY: bounds checked by `at`.
        unsafe { *ttl = self.ttl.wrapping_sub(1) };
        if let Some(offset) = A::CHECKSUM {
            let checksum = at::<u16>(self.skb, ETHERNET + offset).ok_or(Reason::Malformed)?;
            // RFC 1141: one less in the high byte of a word is 0x0100 more in the sum.
            // SAFETY: bounds checked by `at`.
            unsafe {
                let sum = checksum.read() as u32 + u16::to_be(0x0100) as u32;
                checksum.write((sum + (sum >> 16)) as u16);
            }
        } else {
            // One less in the second byte of a word, for a sum that the device made over the whole packet.
            // SAFETY: the kernel's context.
            unsafe { bpf_csum_update(self.skb, u16::to_be(0xfffe) as u32) };
        }
        Ok(())
    }
}
