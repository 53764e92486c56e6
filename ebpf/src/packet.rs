//! The packet, parsed: offsets and values, never pointers, so that nothing dangles after a rewrite.
//!
//! This is the only file with raw packet pointers.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_csum_update, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_load_bytes,
    bpf_skb_pull_data, bpf_skb_store_bytes,
};
use fairway_common::conntrack::Tuple;
use fairway_common::{Reason, TCP, UDP};

use crate::ip::{Ip, checksum_offset};
use crate::stage::deliver::PASS;

/// Bytes of the Ethernet header: every device of a node or pod has one.
pub const ETHERNET: usize = 14;
/// `BPF_F_PSEUDO_HDR`: the change is part of the pseudo header.
const PSEUDO_HEADER: u64 = 1 << 4;
/// `BPF_F_MARK_MANGLED_0`: a UDP checksum of zero means none and stays zero (S94).
const ZERO_MEANS_NONE: u64 = 1 << 5;
/// `PACKET_HOST`.
const PACKET_HOST: u32 = 0;
/// Most IPv6 extension headers that are walked.
const EXTENSIONS: usize = 6;

/// A packet of one family: what the stages need of it.
pub struct Packet<A> {
    /// The kernel's handle.
    pub skb: *mut __sk_buff,
    /// Addresses, ports (zero where the protocol has none) and protocol, as they are now.
    pub tuple: Tuple<A>,
    /// The same as the packet came.
    pub original: Tuple<A>,
    /// Where the transport header stands.
    pub transport: usize,
    /// Flags of the TCP header, or 0.
    pub tcp_flags: u8,
    /// Time to live.
    pub ttl: u8,
    /// Part of a fragmented packet.
    pub fragment: bool,
    /// The id of the Service port that it belongs to, once known.
    pub service: u32,
    /// What the program will return.
    pub verdict: i32,
}

/// A pointer to a `T` at an offset, if the packet's linear part reaches that far.
#[inline(always)]
fn at<T>(skb: *mut __sk_buff, offset: usize) -> Option<*mut T> {
    // SAFETY: the kernel's context; reading these two fields is always allowed.
    let (data, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    if data + offset + size_of::<T>() > end { None } else { Some((data + offset) as *mut T) }
}

/// Reads a `T` in one piece: the kernel aligns IP headers, or the machine does not mind.
#[inline(always)]
fn read<T: Copy>(skb: *mut __sk_buff, offset: usize) -> Result<T, Reason> {
    match at::<T>(skb, offset) {
        // SAFETY: `at` has checked the bounds against the packet's end.
        Some(pointer) => Ok(unsafe { pointer.read() }),
        None => Err(Reason::Malformed),
    }
}

/// The EtherType, host byte order.
#[inline(always)]
pub fn ethertype(skb: *mut __sk_buff) -> u16 {
    // SAFETY: a field of the context.
    u16::from_be(unsafe { (*skb).protocol } as u16)
}

/// Bytes of the packet.
#[inline(always)]
pub fn length(skb: *mut __sk_buff) -> u32 {
    // SAFETY: a field of the context.
    unsafe { (*skb).len }
}

/// The device the program runs at.
#[inline(always)]
pub fn ifindex(skb: *mut __sk_buff) -> u32 {
    // SAFETY: a field of the context.
    unsafe { (*skb).ifindex }
}

/// Whether a packet from the network was sent to this host, untagged: a tag belongs to a VLAN device above this one,
/// and other hosts' packets are seen when somebody listens to all.
#[inline(always)]
pub fn for_this_host(skb: *mut __sk_buff) -> bool {
    // SAFETY: fields of the context.
    unsafe { (*skb).pkt_type == PACKET_HOST && (*skb).vlan_present == 0 }
}

/// Makes the first bytes linear, as far as the packet has them.
#[inline(always)]
fn pull(skb: *mut __sk_buff, wanted: usize) {
    // SAFETY: the kernel's context; after the call all pointers into the packet are made anew.
    unsafe {
        let linear = ((*skb).data_end as usize) - ((*skb).data as usize);
        let length = (*skb).len;
        if linear < wanted && (linear as u32) < length {
            let wanted = if length < wanted as u32 { length } else { wanted as u32 };
            bpf_skb_pull_data(skb, wanted);
        }
    }
}

/// A family's way from the IP header to the transport header.
pub trait Parse: Ip {
    /// Finds the transport header: protocol, offset, and whether it is a fragment.
    fn transport(skb: *mut __sk_buff) -> Result<(u8, usize, u8), Reason>;
}

/// Part of a fragmented packet.
const FRAGMENT: u8 = 1;
/// A fragment other than the first: no transport header.
const HEADLESS: u8 = 2;

impl Parse for fairway_common::V4 {
    #[inline(always)]
    fn transport(skb: *mut __sk_buff) -> Result<(u8, usize, u8), Reason> {
        let version = read::<u8>(skb, ETHERNET)?;
        let header = ((version & 0xf) as usize) << 2;
        if version >> 4 != 4 || header < Self::HEADER {
            return Err(Reason::Malformed);
        }
        let fragment = u16::from_be(read(skb, ETHERNET + 6)?);
        let mut bits = 0;
        if fragment & 0x3fff != 0 {
            bits |= FRAGMENT;
        }
        if fragment & 0x1fff != 0 {
            bits |= HEADLESS;
        }
        Ok((read(skb, ETHERNET + 9)?, ETHERNET + header, bits))
    }
}

impl Parse for fairway_common::V6 {
    #[inline(always)]
    fn transport(skb: *mut __sk_buff) -> Result<(u8, usize, u8), Reason> {
        if read::<u8>(skb, ETHERNET)? >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        let protocol = read(skb, ETHERNET + 6)?;
        if protocol == TCP || protocol == UDP {
            return Ok((protocol, ETHERNET + Self::HEADER, 0));
        }
        let found = extensions(skb, protocol);
        if found == u64::MAX {
            return Err(Reason::Malformed);
        }
        // The compiler knows that the offset is small and would drop the mask; Linux 6.1 does not know, and refuses.
        let offset = core::hint::black_box(found >> 16) as usize & 0x3ff;
        Ok((found as u8, offset, (found >> 8) as u8))
    }
}

/// Walks IPv6 extension headers: protocol, bits and offset packed into one integer, or `u64::MAX` when cut short.
/// A function of its own, since few packets have any.
#[inline(never)]
fn extensions(skb: *mut __sk_buff, first: u8) -> u64 {
    let mut protocol = first;
    let mut offset = ETHERNET + 40;
    let mut bits = 0u8;
    for _ in 0..EXTENSIONS {
        let mut header = [0u8; 4];
        let unit = match protocol {
            // Hop-by-hop options, routing, destination options; authentication counts in words.
            0 | 43 | 60 => 8,
            51 => 4,
            44 => 0,
            _ => break,
        };
        // SAFETY: the helper checks the bounds.
        if unsafe { bpf_skb_load_bytes(skb.cast(), offset as u32, header.as_mut_ptr().cast(), 4) } != 0 {
            return u64::MAX;
        }
        protocol = header[0];
        offset += match unit {
            8 => (header[1] as usize + 1) * 8,
            4 => (header[1] as usize + 2) * 4,
            _ => {
                bits |= FRAGMENT;
                // Thirteen bits of offset, then three of flags.
                if u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0 {
                    bits |= HEADLESS;
                }
                8
            }
        };
        if bits & HEADLESS != 0 {
            break;
        }
    }
    // More options than the linear part can hold are no plain packet.
    if offset > 0x3ff {
        return u64::MAX;
    }
    (offset as u64) << 16 | (bits as u64) << 8 | protocol as u64
}

impl<A: Parse> Packet<A> {
    /// A packet whose headers have not been looked at.
    #[inline(always)]
    pub fn new(skb: *mut __sk_buff) -> Self {
        let tuple = Tuple {
            source: A::UNSPECIFIED,
            destination: A::UNSPECIFIED,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
            pad: [0; 3],
        };
        Self {
            skb,
            tuple,
            original: tuple,
            transport: 0,
            tcp_flags: 0,
            ttl: 0,
            fragment: false,
            service: 0,
            verdict: PASS,
        }
    }

    /// Parses the headers, in place: the verifier loses sight of a pointer that moves with a `Result`.
    #[inline(always)]
    pub fn parse(&mut self) -> Result<(), Reason> {
        let skb = self.skb;
        pull(skb, ETHERNET + A::HEADER + 20);
        let (protocol, offset, bits) = A::transport(skb)?;
        let addresses: [A; 2] = read(skb, ETHERNET + A::ADDRESSES)?;
        self.tuple.source = addresses[0];
        self.tuple.destination = addresses[1];
        self.tuple.protocol = protocol;
        self.transport = offset;
        self.ttl = read(skb, ETHERNET + A::TTL)?;
        self.fragment = bits & FRAGMENT != 0;
        if bits & HEADLESS == 0 && (protocol == TCP || protocol == UDP) {
            self.read_ports(offset != ETHERNET + A::HEADER)?;
        }
        self.original = self.tuple;
        Ok(())
    }

    #[inline(always)]
    fn read_ports(&mut self, options: bool) -> Result<(), Reason> {
        if options {
            pull(self.skb, self.transport + 20);
        }
        let ports: [u16; 2] = read(self.skb, self.transport)?;
        self.tuple.source_port = ports[0];
        self.tuple.destination_port = ports[1];
        if self.tuple.protocol == TCP {
            self.tcp_flags = read(self.skb, self.transport + 13)?;
        }
        Ok(())
    }

    /// Whether the packet has ports that a Service could be found by.
    #[inline(always)]
    pub fn has_ports(&self) -> bool {
        self.tuple.destination_port != 0
    }

    /// Rewrites addresses and ports, and the checksums over them.
    #[inline(always)]
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
            let mut failed = bpf_l4_csum_replace(skb, checksum, 0, difference, flags | PSEUDO_HEADER);
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
            failed | bpf_skb_store_bytes(skb, self.transport as u32, ports.cast(), 4, 0)
        };
        if failed != 0 {
            return Err(Reason::RewriteFailed);
        }
        self.tuple = *to;
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
        let addresses = at::<[[u8; 6]; 2]>(self.skb, 0).ok_or(Reason::Malformed)?;
        // SAFETY: bounds checked by `at`.
        unsafe { addresses.write([destination, source]) };
        Ok(())
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
