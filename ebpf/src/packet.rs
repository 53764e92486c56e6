//! The packet, parsed: offsets and values, never pointers, so that nothing dangles after a rewrite.
//!
//! This is the only room with raw packet pointers.

mod headers;
mod write;

use core::ops::{Deref, DerefMut};

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_skb_pull_data};
use fairway_common::conntrack::{Tuple, tcp};
use fairway_common::link::Link;
use fairway_common::{Reason, TCP, UDP};

pub use self::headers::Parse;
use self::headers::{FRAGMENT, HEADLESS, LINEAR};
pub use self::write::ZERO_MEANS_NONE;
use crate::stage::deliver::PASS;

/// Bytes of the Ethernet header: every device of a node or pod has one.
pub const ETHERNET: usize = 14;
/// `PACKET_HOST`.
const PACKET_HOST: u32 = 0;

/// Bytes of a TCP header without options, and of a UDP header.
const TCP_HEADER: usize = 20;

/// What a packet is a part of.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole packet.
    Whole,
    /// The first fragment of one: it has the ports.
    First,
    /// Another fragment: it has none.
    Later,
    /// An ICMP error, which quotes a packet that somebody could not deliver.
    Error,
    /// A ping or its answer: the id stands for the port of whoever asks. Only where pods' packets are masqueraded.
    Echo,
}

/// A packet of one family: the kernel's handle, and what the stages need to know of it.
pub struct Packet<A: 'static> {
    /// The kernel's handle.
    pub skb: *mut __sk_buff,
    parsed: &'static mut Parsed<A>,
}

/// What is known of a packet.
///
/// It stands in a map rather than on the stack. The verifier remembers every value that it has seen written to the stack,
/// and walks all that follows once for each of them; of what stands in a map it knows nothing. So every offset is masked
/// where it is used.
pub struct Parsed<A> {
    /// Addresses, ports (zero where the protocol has none) and protocol, as they are now.
    pub tuple: Tuple<A>,
    /// The same as the packet came.
    pub original: Tuple<A>,
    /// Where the transport header stands.
    transport: usize,
    /// The id of the Service port that it belongs to, once known.
    pub service: u32,
    /// Where it does not fit the next link: the bytes of an IP packet that do.
    pub mtu: u32,
    /// What the program will return.
    pub verdict: i32,
    /// Flags of the TCP header, or 0.
    pub tcp_flags: u8,
    /// Time to live.
    pub ttl: u8,
    /// Whole or not.
    pub kind: Kind,
}

impl<A> Deref for Packet<A> {
    type Target = Parsed<A>;

    #[inline(always)]
    fn deref(&self) -> &Parsed<A> {
        self.parsed
    }
}

impl<A> DerefMut for Packet<A> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Parsed<A> {
        self.parsed
    }
}

/// A pointer to a `T` at an offset, if the packet's linear part reaches that far.
#[inline(always)]
fn at<T>(skb: *mut __sk_buff, offset: usize) -> Option<*mut T> {
    reach(skb, offset, size_of::<T>()).map(<*mut u8>::cast)
}

/// A pointer to an offset, if the packet's linear part has that many bytes there.
#[inline(always)]
fn reach(skb: *mut __sk_buff, offset: usize, bytes: usize) -> Option<*mut u8> {
    // SAFETY: the kernel's context; reading these two fields is always allowed. Read anew each time: the verifier takes what
    // the compiler makes of two uses of one word for a number.
    let (data, end) = unsafe {
        (
            (&raw const (*skb).data).read_volatile() as usize,
            (&raw const (*skb).data_end).read_volatile() as usize,
        )
    };
    if data + offset + bytes > end { None } else { Some((data + offset) as *mut u8) }
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

/// A size for a helper, from `least` to `least + mask`: the verifier of Linux 6.1 follows a mask and a sum wherever the
/// compiler puts them, and loses a comparison.
#[inline(always)]
pub fn bounded(size: u32, least: u32, mask: u32) -> Option<u32> {
    if size < least || size - least > mask {
        return None;
    }
    Some((core::hint::black_box(size - least) & mask) + least)
}

/// The device the program runs at.
#[inline(always)]
pub fn ifindex(skb: *mut __sk_buff) -> u32 {
    // SAFETY: a field of the context.
    unsafe { (*skb).ifindex }
}

/// The device that a packet came into the node by; 0: it is the node's own.
#[inline(always)]
pub fn came_by(skb: *mut __sk_buff) -> u32 {
    // SAFETY: a field of the context.
    unsafe { (*skb).ingress_ifindex }
}

/// Whether a packet from the network was sent to this host, untagged: a tag belongs to a VLAN device above this one,
/// and other hosts' packets are seen when somebody listens to all.
#[inline(always)]
pub fn for_this_host(skb: *mut __sk_buff) -> bool {
    // SAFETY: fields of the context.
    unsafe { (*skb).pkt_type == PACKET_HOST && (*skb).vlan_present == 0 }
}

/// The link address that the packet comes from.
#[inline(always)]
pub fn sender(skb: *mut __sk_buff) -> Option<[u8; 6]> {
    read(skb, 6).ok()
}

/// The address that the packet is for.
#[inline(always)]
pub fn destination<A: Parse>(skb: *mut __sk_buff) -> Option<A> {
    pull(skb, ETHERNET + A::HEADER);
    read(skb, ETHERNET + A::ADDRESSES + size_of::<A>()).ok()
}

/// Who sends a packet in which nothing but another packet of its family is; none: something else is there.
#[inline(always)]
pub fn enclosing<A: Parse>(skb: *mut __sk_buff) -> Option<A> {
    pull(skb, ETHERNET + A::HEADER + 1);
    let protocol: u8 = read(skb, ETHERNET + A::PROTOCOL).ok()?;
    if protocol != A::ENCLOSED {
        return None;
    }
    let (outside, inside): (u8, u8) = (read(skb, ETHERNET).ok()?, read(skb, ETHERNET + A::HEADER).ok()?);
    let plain = match A::VERSION {
        4 => outside == 0x45 && u16::from_be(read(skb, ETHERNET + 6).ok()?) & 0x3fff == 0,
        _ => true,
    };
    if plain && inside >> 4 == A::VERSION { read(skb, ETHERNET + A::ADDRESSES).ok() } else { None }
}

/// Writes the link addresses; false: it is too short.
#[inline(always)]
pub fn relink(skb: *mut __sk_buff, link: Link) -> bool {
    let Some(place) = at::<Link>(skb, 0) else { return false };
    // SAFETY: bounds checked by `at`.
    unsafe { place.write(link) };
    true
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

impl<A: Parse> Packet<A> {
    /// A packet whose headers have not been looked at.
    #[inline(always)]
    pub fn new(skb: *mut __sk_buff) -> Option<Self> {
        // SAFETY: of this CPU, on which nothing else runs programs of a device meanwhile; the entry is always there, and any
        // bytes but those of `kind`, which is written here, make a value of each field.
        let parsed = unsafe {
            let parsed = A::parsed().get_ptr_mut(0)?;
            (&raw mut (*parsed).kind).write(Kind::Whole);
            &mut *parsed
        };
        parsed.service = 0;
        parsed.mtu = 0;
        parsed.verdict = PASS;
        parsed.tcp_flags = 0;
        Some(Self { skb, parsed })
    }

    /// Where the transport header stands.
    #[inline(always)]
    pub fn transport(&self) -> usize {
        self.parsed.transport & LINEAR as usize
    }

    /// Parses the headers, in place: the verifier loses sight of a pointer that moves with a `Result`.
    #[inline(always)]
    pub fn parse(&mut self) -> Result<(), Reason> {
        let skb = self.skb;
        pull(skb, ETHERNET + A::HEADER + 20);
        let header = at::<A::Header>(skb, ETHERNET).ok_or(Reason::Malformed)?.cast_const().cast::<u8>();
        // SAFETY: within the header.
        self.ttl = unsafe { header.add(A::TTL).read() };
        let mut index = 0;
        while index < Self::ADDRESSES {
            // SAFETY: the two addresses stand in the header, one behind the other.
            let word = unsafe { header.add(A::ADDRESSES).cast::<u64>().add(index).read() };
            self.name(index, word);
            index += 1;
        }
        let (protocol, offset, bits) = A::transport(skb, header)?;
        self.parsed.transport = offset;
        if bits & FRAGMENT != 0 {
            self.kind = if bits & HEADLESS != 0 { Kind::Later } else { Kind::First };
        }
        let ports = if self.kind == Kind::Later {
            0
        } else if protocol == TCP || protocol == UDP {
            self.read_ports(protocol, offset != ETHERNET + A::HEADER)?
        } else if protocol == A::ICMP {
            self.read_icmp()
        } else {
            0
        };
        self.name(Self::ADDRESSES, (protocol as u64) << 32 | ports as u64);
        Ok(())
    }

    /// How many 64-bit words two addresses are.
    const ADDRESSES: usize = size_of::<A>() / 4;

    /// Writes a word of both tuples, which are the two addresses and one more word: two ports, the protocol, zeros. They are
    /// written in words as large as they are read again: a processor waits for each word that several writes made up.
    #[inline(always)]
    fn name(&mut self, index: usize, word: u64) {
        // SAFETY: within the tuples.
        unsafe {
            (&raw mut self.tuple).cast::<u64>().add(index).write(word);
            (&raw mut self.original).cast::<u64>().add(index).write(word);
        }
    }

    /// Sees whether an ICMP packet is an error, or a ping. Returns what stands for its ports.
    #[inline(always)]
    fn read_icmp(&mut self) -> u32 {
        // Type and code, checksum, id.
        let mut words = [0u16; 3];
        // SAFETY: the helper checks the bounds.
        let found = unsafe {
            bpf_skb_load_bytes(self.skb.cast(), self.transport() as u32, words.as_mut_ptr().cast(), 6) == 0
        };
        if !found || self.kind != Kind::Whole {
            return 0;
        }
        let [kind, _] = words[0].to_ne_bytes();
        if A::is_error(kind) {
            self.kind = Kind::Error;
        } else if A::masquerades() && (kind == A::ECHO[0] || kind == A::ECHO[1]) {
            self.kind = Kind::Echo;
            // As a source port, or as a destination port.
            let shift = if kind == A::ECHO[0] { 0 } else { 16 };
            return (words[2] as u32) << shift;
        }
        0
    }

    /// Looks at a header of TCP or UDP. Returns the two ports as they stand there.
    #[inline(always)]
    fn read_ports(&mut self, protocol: u8, options: bool) -> Result<u32, Reason> {
        if options {
            pull(self.skb, self.transport() + 20);
        }
        if protocol == TCP {
            let words: [u32; TCP_HEADER / 4] = read(self.skb, self.transport())?;
            // Header length and flags.
            let [length, flags, ..] = words[3].to_ne_bytes();
            if length >> 4 < 5 {
                return Err(Reason::Malformed);
            }
            self.tcp_flags = flags;
            Ok(words[0])
        } else {
            let words: [u32; 2] = read(self.skb, self.transport())?;
            let [high, low, ..] = words[1].to_ne_bytes();
            if u16::from_be_bytes([high, low]) < 8 {
                return Err(Reason::Malformed);
            }
            Ok(words[0])
        }
    }

    /// Whether it is whole, and its header has no options.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.kind == Kind::Whole && self.parsed.transport == ETHERNET + A::HEADER
    }

    /// Whether the packet has what tells its connection from others.
    #[inline(always)]
    pub fn has_ports(&self) -> bool {
        self.tuple.destination_port != 0 || self.kind == Kind::Echo
    }

    /// Whether it begins a connection, as far as it can be told.
    #[inline(always)]
    pub fn begins(&self) -> bool {
        match self.kind {
            Kind::Echo => self.tuple.destination_port == 0,
            _ => self.tuple.protocol != TCP || self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN,
        }
    }

    /// Whether it is a fragment of what has ports.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        matches!(self.kind, Kind::First | Kind::Later) && matches!(self.tuple.protocol, TCP | UDP)
    }

    /// Whether routers may not cut the packet into fragments.
    #[inline(always)]
    pub fn stays_whole(&self) -> bool {
        if A::CHECKSUM.is_none() {
            return true;
        }
        read::<u16>(self.skb, ETHERNET + 6).is_ok_and(|word| u16::from_be(word) & 0x4000 != 0)
    }

    /// Bytes of the longest IP packet that this one goes out as: large ones are cut into segments by the device.
    #[inline(always)]
    pub fn longest(&self) -> u16 {
        // SAFETY: a field of the context.
        let segment = unsafe { (*self.skb).gso_size };
        let bytes = if segment == 0 {
            length(self.skb).wrapping_sub(ETHERNET as u32)
        } else {
            let header = if self.tuple.protocol == TCP {
                read::<u8>(self.skb, self.transport() + 12)
                    .map_or(TCP_HEADER as u32, |word| (word >> 4) as u32 * 4)
            } else {
                8
            };
            segment + header + (self.transport() - ETHERNET) as u32
        };
        if bytes > 0xffff { 0xffff } else { bytes as u16 }
    }
}
