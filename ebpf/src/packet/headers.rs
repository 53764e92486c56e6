//! From the IP header to the transport header, past options and extension headers.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use fairway_common::{Reason, TCP, UDP};

use super::{ETHERNET, bounded, length, read};
use crate::ip::Ip;

/// Most IPv6 extension headers that are walked.
const EXTENSIONS: usize = 6;
/// Where a transport header may stand: more options than the linear part can hold are no plain packet.
pub(super) const LINEAR: u32 = 0x3ff;

/// A family's way from the IP header to the transport header.
pub trait Parse: Ip {
    /// The id that a fragment shares with the others of its datagram.
    fn fragment_id(skb: *mut __sk_buff, transport: usize) -> u32;
    /// The header without options, as bytes.
    type Header;
    /// Finds the transport header: protocol, offset, and whether it is a fragment. `header` points to a [`Self::Header`].
    fn transport(skb: *mut __sk_buff, header: *const u8) -> Result<(u8, usize, u8), Reason>;
    /// The same in a packet that stands in another one at `start`, as [`extensions`] packs it.
    fn quoted(skb: *mut __sk_buff, start: usize) -> u64;
}

/// Whether a length of the IP header is one that the packet can have: the device may have padded it, and what is cut
/// into segments later may be longer than the field can say, which then holds zero.
#[inline(always)]
fn plausible(skb: *mut __sk_buff, header: usize, total: u32) -> bool {
    let longest = length(skb).wrapping_sub(ETHERNET as u32);
    // SAFETY: a field of the context.
    total >= header as u32 && total <= longest || total == 0 && unsafe { (*skb).gso_size != 0 }
}

/// Part of a fragmented packet.
pub(super) const FRAGMENT: u8 = 1;
/// A fragment other than the first: no transport header.
pub(super) const HEADLESS: u8 = 2;

/// A number in network byte order that stands at an offset of a header: read in one piece, the machine does not mind where.
///
/// # Safety
///
/// The header is as long.
#[inline(always)]
unsafe fn number(header: *const u8, offset: usize) -> u16 {
    // SAFETY: what the caller says.
    u16::from_be(unsafe { header.add(offset).cast::<u16>().read() })
}

impl Parse for fairway_common::V4 {
    type Header = [u8; 20];

    #[inline(always)]
    fn transport(skb: *mut __sk_buff, header: *const u8) -> Result<(u8, usize, u8), Reason> {
        // SAFETY: within 20 bytes.
        let (version, total, fragment, protocol) =
            unsafe { (header.read(), number(header, 2), number(header, 6), header.add(9).read()) };
        let header = ((version & 0xf) as usize) << 2;
        if version >> 4 != 4 || header < Self::HEADER || !plausible(skb, header, total as u32) {
            return Err(Reason::Malformed);
        }
        let mut bits = 0;
        if fragment & 0x3fff != 0 {
            bits |= FRAGMENT;
        }
        if fragment & 0x1fff != 0 {
            bits |= HEADLESS;
        }
        Ok((protocol, ETHERNET + header, bits))
    }

    #[inline(always)]
    fn fragment_id(skb: *mut __sk_buff, _transport: usize) -> u32 {
        read::<u16>(skb, ETHERNET + 4).unwrap_or(0) as u32
    }

    #[inline(always)]
    fn quoted(skb: *mut __sk_buff, start: usize) -> u64 {
        let mut header = [0u8; 12];
        // SAFETY: the helper checks the bounds.
        let failed =
            unsafe { bpf_skb_load_bytes(skb.cast(), start as u32, header.as_mut_ptr().cast(), 12) } != 0;
        let later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
        if failed || later || header[0] >> 4 != 4 || header[0] & 0xf < 5 {
            return u64::MAX;
        }
        let transport = start + (((header[0] & 0xf) as usize) << 2);
        (transport as u64) << 16 | header[9] as u64
    }
}

impl Parse for fairway_common::V6 {
    type Header = [u8; 40];

    #[inline(always)]
    fn transport(skb: *mut __sk_buff, header: *const u8) -> Result<(u8, usize, u8), Reason> {
        // SAFETY: within 40 bytes.
        let (version, payload, protocol) =
            unsafe { (header.read(), number(header, 4) as u32, header.add(6).read()) };
        if version >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        // A length of zero is that of a packet longer than the field can say.
        if payload != 0 && payload + (ETHERNET + Self::HEADER) as u32 > length(skb) {
            return Err(Reason::Malformed);
        }
        if protocol == TCP || protocol == UDP {
            return Ok((protocol, ETHERNET + Self::HEADER, 0));
        }
        let found = extensions(skb, protocol, ETHERNET + Self::HEADER);
        if found == u64::MAX {
            return Err(Reason::Malformed);
        }
        // The compiler knows that the offset is small and would drop the mask; Linux 6.1 does not know, and refuses.
        let offset = core::hint::black_box(found >> 16) as usize & 0x3ff;
        Ok((found as u8, offset, (found >> 8) as u8))
    }

    /// At the end of the fragment header, which comes last; who puts another one behind it is not understood.
    #[inline(always)]
    fn fragment_id(skb: *mut __sk_buff, transport: usize) -> u32 {
        let mut id = 0u32;
        // SAFETY: the helper checks the bounds.
        unsafe { bpf_skb_load_bytes(skb.cast(), transport as u32 - 4, (&raw mut id).cast(), 4) };
        id
    }

    #[inline(always)]
    fn quoted(skb: *mut __sk_buff, start: usize) -> u64 {
        let mut header = [0u8; 8];
        // SAFETY: the helper checks the bounds.
        let failed =
            unsafe { bpf_skb_load_bytes(skb.cast(), start as u32, header.as_mut_ptr().cast(), 8) } != 0;
        if failed || header[0] >> 4 != 6 {
            return u64::MAX;
        }
        let found = extensions(skb, header[6], start + Self::HEADER);
        if (found >> 8) as u8 & HEADLESS != 0 { u64::MAX } else { found }
    }
}

/// Walks IPv6 extension headers: protocol, bits and offset packed into one integer, or `u64::MAX` when cut short.
/// A function of its own, since few packets have any.
#[inline(never)]
fn extensions(skb: *mut __sk_buff, first: u8, start: usize) -> u64 {
    let mut protocol = first;
    let mut offset = start as u32;
    let mut bits = 0u8;
    for _ in 0..EXTENSIONS {
        // Bounded anew each time: so the verifier sees one state where the ways of all header types meet.
        let Some(here) = bounded(offset, 0, LINEAR) else { return u64::MAX };
        offset = here;
        let mut header = [0u8; 4];
        let unit = match protocol {
            // Hop-by-hop options, routing, destination options; authentication counts in words.
            0 | 43 | 60 => 8,
            51 => 4,
            44 => 0,
            _ => break,
        };
        // SAFETY: the helper checks the bounds.
        if unsafe { bpf_skb_load_bytes(skb.cast(), offset, header.as_mut_ptr().cast(), 4) } != 0 {
            return u64::MAX;
        }
        protocol = header[0];
        if unit == 0 {
            bits |= FRAGMENT;
            offset += 8;
            // Thirteen bits of offset, then three of flags.
            if u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0 {
                bits |= HEADLESS;
                break;
            }
        } else {
            offset += (header[1] as u32) * unit + 8;
        }
    }
    match bounded(offset, 0, LINEAR) {
        Some(offset) => (offset as u64) << 16 | (bits as u64) << 8 | protocol as u64,
        None => u64::MAX,
    }
}
