//! A frame in the hands of a device's driver: parsed, and written, in place.
//!
//! Only whole packets of TCP and UDP whose headers have no options: what else comes is the business of the programs
//! behind. The fields of a header stand at fixed places then, and a bounds check costs nothing.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use fairway_common::checksum::{self, update, update_udp};
use fairway_common::conntrack::{Entry, Hop, Tuple, flags, tcp};
use fairway_common::{TCP, UDP, V4, V6};

use crate::fields::Fields;
use crate::ip::{Ip, checksum_offset};
use crate::packet::{ETHERNET, Parse};

/// A frame of one family.
pub struct Frame<A> {
    /// The kernel's handle.
    pub ctx: *mut xdp_md,
    /// Addresses, ports and protocol, as they came.
    pub tuple: Tuple<A>,
    /// Bytes of the IP packet.
    pub length: u16,
}

/// What else the transport header says.
#[derive(Clone, Copy)]
pub struct Transport {
    /// Flags of the TCP header, or 0.
    pub tcp_flags: u8,
    /// The checksum.
    check: u16,
}

impl Transport {
    /// Whether it asks for a connection.
    #[inline(always)]
    pub fn is_syn(self) -> bool {
        self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }
}

/// Where a family keeps what is read of its header.
pub trait Plain: Parse {
    /// Protocol and length of a packet that has no options, is no fragment, and may go one hop further.
    fn plain(ctx: *mut xdp_md) -> Option<(u8, u16)>;
}

/// A pointer to a `T` at an offset, if the frame reaches that far.
#[inline(always)]
fn at<T>(ctx: *mut xdp_md, offset: usize) -> Option<*mut T> {
    reach(ctx, offset, size_of::<T>()).map(<*mut u8>::cast)
}

/// A pointer to an offset, if the frame has that many bytes there.
#[inline(always)]
fn reach(ctx: *mut xdp_md, offset: usize, bytes: usize) -> Option<*mut u8> {
    // SAFETY: the kernel's context; reading these two fields is always allowed.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    if data + offset + bytes > end { None } else { Some((data + offset) as *mut u8) }
}

#[inline(always)]
fn read<T: Copy>(ctx: *mut xdp_md, offset: usize) -> Option<T> {
    // SAFETY: `at` has checked the bounds; the machine does not mind where it is.
    at::<T>(ctx, offset).map(|pointer| unsafe { pointer.read() })
}

#[inline(always)]
fn write<T>(ctx: *mut xdp_md, offset: usize, value: T) -> Option<()> {
    // SAFETY: as above.
    at::<T>(ctx, offset).map(|pointer| unsafe { pointer.write(value) })
}

/// The EtherType, host byte order.
#[inline(always)]
pub fn ethertype(ctx: *mut xdp_md) -> u16 {
    u16::from_be(read(ctx, 12).unwrap_or(0))
}

/// The device that the frame came by.
#[inline(always)]
pub fn ifindex(ctx: *mut xdp_md) -> u32 {
    // SAFETY: a field of the context.
    unsafe { (*ctx).ingress_ifindex }
}

/// Whether the frame holds an IP packet of this length; it may be padded.
#[inline(always)]
fn holds(ctx: *mut xdp_md, length: u32) -> bool {
    // SAFETY: fields of the context.
    let bytes = unsafe { (*ctx).data_end - (*ctx).data };
    length + ETHERNET as u32 <= bytes
}

impl Plain for V4 {
    #[inline(always)]
    fn plain(ctx: *mut xdp_md) -> Option<(u8, u16)> {
        let [version, _, high, low]: [u8; 4] = read(ctx, ETHERNET)?;
        let fragment: u16 = read(ctx, ETHERNET + 6)?;
        let [ttl, protocol]: [u8; 2] = read(ctx, ETHERNET + Self::TTL)?;
        let length = u16::from_be_bytes([high, low]);
        let whole = version == 0x45 && u16::from_be(fragment) & 0x3fff == 0;
        if whole && ttl > 1 && holds(ctx, length as u32) { Some((protocol, length)) } else { None }
    }
}

impl Plain for V6 {
    #[inline(always)]
    fn plain(ctx: *mut xdp_md) -> Option<(u8, u16)> {
        let version: u8 = read(ctx, ETHERNET)?;
        let [high, low, protocol, ttl]: [u8; 4] = read(ctx, ETHERNET + 4)?;
        let length = u16::from_be_bytes([high, low]) as u32 + Self::HEADER as u32;
        if version >> 4 == 6 && ttl > 1 && length <= 0xffff && holds(ctx, length) {
            Some((protocol, length as u16))
        } else {
            None
        }
    }
}

impl<A: Plain> Frame<A> {
    const TRANSPORT: usize = ETHERNET + A::HEADER;

    /// Who sends it to whom; none: it is something else.
    #[inline(always)]
    pub fn parse(ctx: *mut xdp_md) -> Option<Self> {
        let (protocol, length) = A::plain(ctx)?;
        if protocol != TCP && protocol != UDP {
            return None;
        }
        let [source, destination]: [A; 2] = read(ctx, ETHERNET + A::ADDRESSES)?;
        let ports: u32 = read(ctx, Self::TRANSPORT)?;
        let mut tuple =
            Tuple { source, destination, source_port: 0, destination_port: 0, protocol: 0, pad: [0; 3] };
        // In one word, as it is read again: a processor waits for each word that several writes made up.
        // SAFETY: behind the addresses two ports, the protocol and zeros fill one word.
        unsafe {
            (&raw mut tuple.source_port).cast::<u64>().write((protocol as u64) << 32 | ports as u64);
        }
        Some(Self { ctx, tuple, length })
    }

    /// The transport header; none: it is cut short.
    #[inline(always)]
    pub fn transport(&self) -> Option<Transport> {
        let (ctx, payload) = (self.ctx, self.length.wrapping_sub(A::HEADER as u16));
        let check = Self::TRANSPORT + checksum_offset(self.tuple.protocol);
        if self.tuple.protocol == UDP {
            let length = u16::from_be(read(ctx, Self::TRANSPORT + 4)?);
            let whole = payload >= 8 && length >= 8;
            return if whole { Some(Transport { tcp_flags: 0, check: read(ctx, check)? }) } else { None };
        }
        let [size, tcp_flags]: [u8; 2] = read(ctx, Self::TRANSPORT + 12)?;
        let whole = payload >= 20 && size >> 4 >= 5;
        if whole { Some(Transport { tcp_flags, check: read(ctx, check)? }) } else { None }
    }

    /// Whether it was sent to this link address.
    #[inline(always)]
    pub fn is_for(&self, address: [u8; 6]) -> bool {
        read::<[u8; 6]>(self.ctx, 0).is_some_and(|destination| destination == address)
    }

    /// Whether the checksum is that of the pseudo header alone, by what `entry` knows of it: a virtual wire, or a device that has put segments together,
    /// hands over packets whose sum the receiving stack has to complete, and no driver that sends it knows.
    #[inline(always)]
    pub fn is_unfinished(&self, transport: Transport, entry: &Entry<A>) -> bool {
        let length = self.length - A::HEADER as u16;
        let direct = entry.flags & flags::DIRECT != 0;
        transport.check == if direct { self.tuple.pseudo_sum(length) } else { entry.sums.pseudo_sum(length) }
    }

    /// Makes it what its connection's entry says, one hop on.
    #[inline(always)]
    pub fn translate(&self, transport: Transport, entry: &Entry<A>) -> Option<()> {
        let to = &entry.to;
        let addresses = entry.sums.addresses as u64;
        let both = addresses + self.tuple.change_of_ports(to);
        let check = match self.tuple.protocol {
            UDP => update_udp(transport.check, both),
            _ => update(transport.check, both),
        };
        write(self.ctx, Self::TRANSPORT + checksum_offset(self.tuple.protocol), check)?;
        let start = reach(self.ctx, 0, Fields::<A>::BYTES)?;
        // SAFETY: bounds checked by `reach`.
        unsafe { Fields::new(start).translate(to, entry.hop.link, addresses) };
        Some(())
    }

    /// One hop: link addresses, time to live, and the header's checksum.
    #[inline(always)]
    pub fn hop(&self, hop: &Hop) -> Option<()> {
        let start = reach(self.ctx, 0, Fields::<A>::TRANSPORT)?;
        // SAFETY: bounds checked by `reach`.
        unsafe { Fields::<A>::new(start) }.hop(hop.link, checksum::NONE);
        Some(())
    }

    /// One hop with a header in front: from this node to another one. None: there is no room, and nothing has happened.
    ///
    /// A function of its own, for its stack.
    #[inline(never)]
    pub fn enclose(&self, hop: &Hop, far: &A) -> Option<()> {
        let mut header = [0u8; 40];
        A::write_header(&mut header, A::node_address(), *far, A::ENCLOSED, self.length);
        // SAFETY: the kernel's context; all pointers into the frame are made anew.
        if unsafe { bpf_xdp_adjust_head(self.ctx, -(A::HEADER as i32)) } != 0 {
            return None;
        }
        // Link addresses in front of the packet, which the header is written over.
        let inside = reach(self.ctx, A::HEADER, Fields::<A>::TRANSPORT)?;
        // SAFETY: bounds checked by `reach`.
        unsafe { Fields::<A>::new(inside) }.hop(hop.link, checksum::NONE);
        let kind: u16 = if A::VERSION == 4 { 0x0800 } else { 0x86dd };
        write(self.ctx, 0, hop.link)?;
        write(self.ctx, 12, kind.to_be())?;
        // SAFETY: a header of either family is no longer.
        write(self.ctx, ETHERNET, unsafe { header.as_ptr().cast::<A::Header>().read() })
    }
}
