//! Changing a packet: addresses, ports, link addresses, time to live, and every checksum over them.
//!
//! All is written directly into the packet. Only the kernel knows whether a device will complete the checksum of TCP or
//! UDP, and programs cannot read it: one of its helpers is asked, for it changes nothing then.

use aya_ebpf::helpers::{bpf_csum_update, bpf_l4_csum_replace};
use fairway_common::conntrack::Tuple;
use fairway_common::{ICMP, Reason, UDP, checksum};

use super::{ETHERNET, Kind, Packet, Parse, at, read, relink};
use crate::ip::checksum_offset;

/// `BPF_F_MARK_MANGLED_0`: a UDP checksum of zero means none and stays zero (S94).
pub const ZERO_MEANS_NONE: u64 = 1 << 5;

impl<A: Parse> Packet<A> {
    /// Rewrites addresses and ports, and the checksums over them.
    ///
    /// A function of its own: the verifier walks its calls once where they are written, and its stack is its own.
    #[inline(never)]
    pub fn rewrite(&mut self, to: &Tuple<A>) -> Result<(), Reason> {
        let addresses = self.tuple.change_of_addresses(to);
        self.rewrite_transport(to, addresses)?;
        self.write_addresses(to, addresses)?;
        self.tuple = *to;
        Ok(())
    }

    /// Rewrites the addresses of a later fragment: the checksum over them stands in the first one.
    #[inline(always)]
    pub fn readdress(&mut self, to: &Tuple<A>) -> Result<(), Reason> {
        let addresses = self.tuple.change_of_addresses(to);
        if A::CHECKSUM.is_none() {
            // A sum of the device over the whole packet sees the addresses change, and nothing else.
            self.update_sum(addresses);
        }
        self.write_addresses(to, addresses)?;
        (self.tuple.source, self.tuple.destination) = (to.source, to.destination);
        Ok(())
    }

    /// Writes ports, or a ping's id, and the checksum over them and the addresses, which change by a sum.
    #[inline(always)]
    fn rewrite_transport(&mut self, to: &Tuple<A>, addresses: u64) -> Result<(), Reason> {
        // ICMP for IPv4 alone has no addresses in its sum.
        let addresses = if self.tuple.protocol == ICMP { 0 } else { addresses };
        let place = self.transport() + checksum_offset(self.tuple.protocol);
        let udp = self.tuple.protocol == UDP;
        let old: u16 = read(self.skb, place)?;
        let check = if udp && old == 0 {
            // No checksum (S94).
            0
        } else if self.is_completed_later(place, old)? {
            // So far it is the sum of the addresses alone.
            checksum::fold(old as u64 + addresses)
        } else {
            if A::CHECKSUM.is_some() {
                // Changes of the header and of its own checksum cancel out in a sum that the device made over the whole
                // packet. The transport's checksum changes by addresses that stand elsewhere.
                self.update_sum(!checksum::fold(addresses) as u64);
            }
            let change = addresses + self.tuple.change_of_ports(to);
            if udp { checksum::update_udp(old, change) } else { checksum::update(old, change) }
        };
        *self.writable(place)? = check;
        if self.kind == Kind::Echo {
            // One of the two is zero.
            *self.writable(self.transport() + 4)? = to.source_port | to.destination_port;
        } else {
            *self.writable(self.transport())? = [to.source_port, to.destination_port];
        }
        Ok(())
    }

    /// Whether the device that the packet leaves by completes the checksum at `place` (CHECKSUM_PARTIAL). What it cuts into
    /// segments always is.
    #[inline(always)]
    fn is_completed_later(&self, place: usize, check: u16) -> Result<bool, Reason> {
        // SAFETY: the kernel's context; the helper checks bounds.
        unsafe {
            if (*self.skb).gso_size != 0 {
                return Ok(true);
            }
            // The kernel is asked only about what looks like one.
            if check != self.pseudo_sum()? {
                return Ok(false);
            }
            bpf_l4_csum_replace(self.skb, place as u32, 0, 1, 2);
        }
        Ok(read::<u16>(self.skb, place)? == check)
    }

    /// The sum of the pseudo header.
    #[inline(always)]
    fn pseudo_sum(&self) -> Result<u16, Reason> {
        let (offset, counted) = A::LENGTH;
        let total = u16::from_be(read(self.skb, ETHERNET + offset)?) as usize;
        // Both count from the beginning of the IP header.
        let length = total + A::HEADER - counted + ETHERNET - self.transport();
        Ok(self.tuple.pseudo_sum(length as u16))
    }

    /// Changes the sum that the device made over the whole packet, if it did.
    #[inline(always)]
    fn update_sum(&self, change: u64) {
        // SAFETY: the kernel's context.
        unsafe { bpf_csum_update(self.skb, checksum::fold(change) as u32) };
    }

    /// Writes the addresses, which change by a sum, and the header's own checksum.
    #[inline(always)]
    fn write_addresses(&mut self, to: &Tuple<A>, change: u64) -> Result<(), Reason> {
        *self.writable(ETHERNET + A::ADDRESSES)? = [to.source, to.destination];
        if let Some(offset) = A::CHECKSUM {
            let check = self.writable::<u16>(ETHERNET + offset)?;
            *check = checksum::update(*check, change);
        }
        Ok(())
    }

    /// A place in the packet's linear part. The kernel lets nobody else see what is written there.
    #[inline(always)]
    fn writable<T: Copy>(&mut self, offset: usize) -> Result<&mut T, Reason> {
        let pointer = at::<T>(self.skb, offset).ok_or(Reason::RewriteFailed)?;
        // SAFETY: bounds checked by `at`; the machine does not mind where it is.
        Ok(unsafe { &mut *pointer })
    }

    /// Addresses the packet to the device it is leaving by.
    #[inline(always)]
    pub fn link_to_self(&mut self) -> Result<(), Reason> {
        let addresses = self.writable::<[[u8; 6]; 2]>(0)?;
        addresses[0] = addresses[1];
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
        *self.writable(ETHERNET + A::TTL)? = self.ttl.wrapping_sub(1);
        if let Some(offset) = A::CHECKSUM {
            // One less in the high byte of a word.
            let check = self.writable::<u16>(ETHERNET + offset)?;
            *check = checksum::update(*check, u16::to_be(0xfeff) as u64);
        } else {
            // In the low byte.
            self.update_sum(u16::to_be(0xfffe) as u64);
        }
        Ok(())
    }
}
