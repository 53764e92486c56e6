//! Changing a packet: addresses, ports, link addresses, time to live, and every checksum over them.
//!
//! All is written directly into the packet. Only the kernel knows whether a device will complete the checksum of TCP or
//! UDP, and programs cannot read it: one of its helpers is asked, for it changes nothing then.

use aya_ebpf::helpers::{bpf_csum_update, bpf_l4_csum_replace};
use fairway_common::conntrack::{Sums, Tuple};
use fairway_common::link::Link;
use fairway_common::{ICMP, Reason, UDP, checksum};

use super::{ETHERNET, Kind, Packet, Parse, at, reach, read, relink};
use crate::fields::Fields;
use crate::ip::checksum_offset;
use crate::settings;

/// `BPF_F_MARK_MANGLED_0`: a UDP checksum of zero means none and stays zero (S94).
pub const ZERO_MEANS_NONE: u64 = 1 << 5;

impl<A: Parse> Packet<A> {
    /// Rewrites addresses and ports, and the checksums over them.
    ///
    /// A function of its own: the verifier walks its calls once where they are written, and its stack is its own.
    #[inline(never)]
    pub fn rewrite(&mut self, to: &Tuple<A>) -> Result<(), Reason> {
        let sums = self.tuple.sums(to);
        self.rewrite_transport(to, sums)?;
        self.write_addresses(to, sums.addresses as u64)?;
        self.tuple = *to;
        Ok(())
    }

    /// The same of a packet that [`is_plain`](Self::is_plain), and one hop, all in one go.
    #[inline(always)]
    pub fn translate(&mut self, to: &Tuple<A>, sums: Sums, link: Link) -> Result<(), Reason> {
        let place = Fields::<A>::TRANSPORT + checksum_offset(self.tuple.protocol);
        let check = self.renewed(place, to, sums, A::HOP)?;
        *self.writable(place)? = check;
        let start = reach(self.skb, 0, Fields::<A>::BYTES).ok_or(Reason::RewriteFailed)?;
        // SAFETY: bounds checked by `reach`.
        unsafe { Fields::new(start).translate(to, link, sums.addresses as u64) };
        if settings::trace() {
            // Nobody else asks what it has become.
            self.tuple = *to;
        }
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

    /// Writes ports, or a ping's id, and the checksum over them and the addresses.
    #[inline(always)]
    fn rewrite_transport(&mut self, to: &Tuple<A>, mut sums: Sums) -> Result<(), Reason> {
        if self.tuple.protocol == ICMP {
            // ICMP for IPv4 alone has no addresses in its sum.
            sums.addresses = 0;
        }
        let place = self.transport() + checksum_offset(self.tuple.protocol);
        let check = self.renewed(place, to, sums, checksum::NONE)?;
        *self.writable(place)? = check;
        if self.kind == Kind::Echo {
            // One of the two is zero.
            *self.writable(self.transport() + 4)? = to.source_port | to.destination_port;
        } else {
            *self.writable(self.transport())? = [to.source_port, to.destination_port];
        }
        Ok(())
    }

    /// What the transport's checksum, which stands at `place`, becomes. What a device summed up is told of all changes; `also`:
    /// those of the header that are neither addresses nor ports.
    #[inline(always)]
    fn renewed(&self, place: usize, to: &Tuple<A>, sums: Sums, also: u64) -> Result<u16, Reason> {
        let udp = self.tuple.protocol == UDP;
        let addresses = sums.addresses as u64;
        let old: u16 = read(self.skb, place)?;
        if udp && old == 0 {
            // No checksum (S94).
            return Ok(0);
        }
        if self.is_completed_later(place, old, sums)? {
            // So far it is the sum of the addresses alone.
            return Ok(checksum::fold(old as u64 + addresses));
        }
        if A::CHECKSUM.is_none() {
            // The transport's checksum changes by addresses that stand elsewhere. Changes of a header that has a checksum of
            // its own cancel out.
            self.update_sum(!sums.addresses as u64 + also);
        }
        let change = addresses + self.tuple.change_of_ports(to);
        Ok(if udp { checksum::update_udp(old, change) } else { checksum::update(old, change) })
    }

    /// Whether the device that the packet leaves by completes the checksum at `place` (CHECKSUM_PARTIAL). What it cuts into
    /// segments always is.
    #[inline(always)]
    fn is_completed_later(&self, place: usize, check: u16, sums: Sums) -> Result<bool, Reason> {
        // SAFETY: the kernel's context; the helper checks bounds.
        unsafe {
            if (*self.skb).gso_size != 0 {
                return Ok(true);
            }
            // The kernel is asked only about what looks like one.
            if check != sums.pseudo_sum(self.segment()?) {
                return Ok(false);
            }
            bpf_l4_csum_replace(self.skb, place as u32, 0, 1, 2);
        }
        Ok(read::<u16>(self.skb, place)? == check)
    }

    /// Bytes from the transport header on.
    #[inline(always)]
    fn segment(&self) -> Result<u16, Reason> {
        let (offset, counted) = A::LENGTH;
        let total = u16::from_be(read(self.skb, ETHERNET + offset)?) as usize;
        // Both count from the beginning of the IP header.
        Ok((total + A::HEADER - counted + ETHERNET - self.transport()) as u16)
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
    pub fn link(&mut self, link: Link) -> Result<(), Reason> {
        if relink(self.skb, link) { Ok(()) } else { Err(Reason::Malformed) }
    }

    /// One hop: counts the time to live down and writes the link addresses. The caller has checked the time to live.
    #[inline(always)]
    pub fn hop(&mut self, link: Link) -> Result<(), Reason> {
        let start = reach(self.skb, 0, Fields::<A>::TRANSPORT).ok_or(Reason::RewriteFailed)?;
        // SAFETY: bounds checked by `reach`.
        unsafe { Fields::<A>::new(start) }.hop(link, checksum::NONE);
        if A::CHECKSUM.is_none() {
            self.update_sum(A::HOP);
        }
        Ok(())
    }
}
