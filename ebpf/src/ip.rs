//! What differs between IPv4 and IPv6: the tables, the settings, and the shape of the header.

use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use fairway_common::conntrack::{Entry, Tuple};
use fairway_common::pod::{Device, Near, Pod};
use fairway_common::service::{Backend, Frontend, FrontendKey};
use fairway_common::socket::{Peer, PeerKey};
use fairway_common::{Family, ICMP, ICMP6, TCP, UDP, V4, V6};

use crate::maps::Pending;
use crate::packet::Parsed;
use crate::{maps, settings};

/// `AF_INET` and `AF_INET6`.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// An address family with its tables and header.
pub trait Ip: Family {
    /// Bytes of the header without options.
    const HEADER: usize;
    /// Where the source address stands in the header; the destination follows it.
    const ADDRESSES: usize;
    /// Where the length stands, and how many bytes of the header it counts.
    const LENGTH: (usize, usize);
    /// Where the number of what follows the header stands.
    const PROTOCOL: usize;
    /// That number where another packet of the family follows (RFC 2003, RFC 2473).
    const ENCLOSED: u8;
    /// Where the time to live stands.
    const TTL: usize;
    /// The protocol number of ICMP.
    const ICMP: u8;
    /// Type and code of "port unreachable" (RFC 792, RFC 4443).
    const PORT_UNREACHABLE: [u8; 2];
    /// Those of "fragmentation needed", "packet too big".
    const TOO_BIG: [u8; 2];
    /// Those of "time exceeded in transit".
    const TIME_EXCEEDED: [u8; 2];
    /// Types of "echo request" and "echo reply".
    const ECHO: [u8; 2];
    /// For `bpf_fib_lookup`.
    const AF: u8;

    /// Services.
    fn frontends() -> &'static HashMap<FrontendKey<Self>, Frontend>;
    /// The filter in front of them.
    fn filter() -> &'static Array<u64>;
    /// Where they lead.
    fn backends() -> &'static Array<Backend<Self>>;
    /// Pods of this node.
    fn pods() -> &'static HashMap<Self, Pod>;
    /// The same by the places of their addresses.
    fn near() -> &'static Array<Near<Self>>;
    /// Their devices.
    fn devices() -> &'static Array<Device<Self>>;
    /// Translated connections.
    fn conntrack() -> &'static HashMap<Tuple<Self>, Entry<Self>>;
    /// The connection that this CPU is recording.
    fn pending() -> &'static PerCpuArray<Pending<Self>>;
    /// The packet that this CPU is at.
    fn parsed() -> &'static PerCpuArray<Parsed<Self>>;
    /// The ways to other nodes' backends.
    fn ways() -> &'static PerCpuArray<Entry<Self>>;
    /// Those that did not fit there.
    fn overflow() -> &'static LruHashMap<Tuple<Self>, Entry<Self>>;
    /// What first fragments became.
    fn fragments() -> &'static LruHashMap<Tuple<Self>, Entry<Self>>;
    /// Translated sockets.
    fn peers() -> &'static LruHashMap<PeerKey<Self>, Peer<Self>>;
    /// The source of connections that this node sends on.
    fn node_address() -> Self;
    /// Whether pods' packets to the world take the node's address: if it has one.
    #[inline(always)]
    fn masquerades() -> bool {
        let family = if Self::VERSION == 4 { 1 } else { 2 };
        settings::masquerade() & family != 0 && Self::node_address() != Self::UNSPECIFIED
    }
    /// Whether an address is in the range that Services get theirs from.
    fn in_service_range(self) -> bool;
    /// Whether an ICMP type is an error, which quotes a packet.
    fn is_error(kind: u8) -> bool;
    /// Whether an address means nothing beyond its link.
    fn is_link_local(self) -> bool;
    /// Whether a packet to the address stays on its link, or is for many.
    fn is_near(self) -> bool;
    /// Writes a header without options, checksum included, for `payload` bytes of `protocol`.
    fn write_header(header: &mut [u8; 40], source: Self, destination: Self, protocol: u8, payload: u16);
    /// Where the checksum of the IP header stands, if it has one.
    const CHECKSUM: Option<usize>;
    /// What a sum over the header changes by when the time to live is one less.
    const HOP: u64;
}

impl Ip for V4 {
    const HEADER: usize = 20;
    const ADDRESSES: usize = 12;
    const LENGTH: (usize, usize) = (2, 20);
    const PROTOCOL: usize = 9;
    const ENCLOSED: u8 = 4;
    const TTL: usize = 8;
    const ICMP: u8 = ICMP;
    const PORT_UNREACHABLE: [u8; 2] = [3, 3];
    const TOO_BIG: [u8; 2] = [3, 4];
    const TIME_EXCEEDED: [u8; 2] = [11, 0];
    const ECHO: [u8; 2] = [8, 0];
    const AF: u8 = AF_INET;
    const CHECKSUM: Option<usize> = Some(10);
    // It is the high byte of a word.
    const HOP: u64 = u16::to_be(0xfeff) as u64;

    #[inline(always)]
    fn frontends() -> &'static HashMap<FrontendKey<Self>, Frontend> {
        &maps::FRONTENDS4
    }
    #[inline(always)]
    fn filter() -> &'static Array<u64> {
        &maps::FILTER4
    }
    #[inline(always)]
    fn backends() -> &'static Array<Backend<Self>> {
        &maps::BACKENDS4
    }
    #[inline(always)]
    fn pods() -> &'static HashMap<Self, Pod> {
        &maps::PODS4
    }
    #[inline(always)]
    fn near() -> &'static Array<Near<Self>> {
        &maps::NEAR4
    }
    #[inline(always)]
    fn devices() -> &'static Array<Device<Self>> {
        &maps::DEVICES4
    }
    #[inline(always)]
    fn conntrack() -> &'static HashMap<Tuple<Self>, Entry<Self>> {
        &maps::CONNTRACK4
    }

    #[inline(always)]
    fn pending() -> &'static PerCpuArray<Pending<Self>> {
        &maps::PENDING4
    }

    #[inline(always)]
    fn parsed() -> &'static PerCpuArray<Parsed<Self>> {
        &maps::PARSED4
    }
    #[inline(always)]
    fn ways() -> &'static PerCpuArray<Entry<Self>> {
        &maps::WAYS4
    }
    #[inline(always)]
    fn overflow() -> &'static LruHashMap<Tuple<Self>, Entry<Self>> {
        &maps::OVERFLOW4
    }
    #[inline(always)]
    fn fragments() -> &'static LruHashMap<Tuple<Self>, Entry<Self>> {
        &maps::FRAGMENTS4
    }
    #[inline(always)]
    fn peers() -> &'static LruHashMap<PeerKey<Self>, Peer<Self>> {
        &maps::PEERS4
    }
    #[inline(always)]
    fn node_address() -> Self {
        settings::node_v4()
    }
    #[inline(always)]
    fn in_service_range(self) -> bool {
        let (range, mask) = (settings::services_v4(), settings::services_mask_v4());
        mask[0] != 0 && self[0] & mask[0] == range[0]
    }
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Unreachable, source quench, time exceeded, parameter problem.
        matches!(kind, 3 | 4 | 11 | 12)
    }
    #[inline(always)]
    fn is_link_local(self) -> bool {
        false
    }
    #[inline(always)]
    fn is_near(self) -> bool {
        false
    }

    #[inline(always)]
    fn write_header(header: &mut [u8; 40], source: Self, destination: Self, protocol: u8, payload: u16) {
        let length = (20 + payload).to_be_bytes();
        let (source, destination) = (source[0].to_ne_bytes(), destination[0].to_ne_bytes());
        header[0] = 0x45;
        header[2] = length[0];
        header[3] = length[1];
        header[6] = 0x40; // do not fragment
        header[8] = 64;
        header[9] = protocol;
        let mut index = 0;
        while index < 4 {
            header[12 + index] = source[index];
            header[16 + index] = destination[index];
            index += 1;
        }
        let mut sum = 0u32;
        index = 0;
        while index < 20 {
            sum += u16::from_be_bytes([header[index], header[index + 1]]) as u32;
            index += 2;
        }
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        let checksum = (!(sum as u16)).to_be_bytes();
        header[10] = checksum[0];
        header[11] = checksum[1];
    }
}

impl Ip for V6 {
    const HEADER: usize = 40;
    const ADDRESSES: usize = 8;
    const LENGTH: (usize, usize) = (4, 0);
    const PROTOCOL: usize = 6;
    const ENCLOSED: u8 = 41;
    const TTL: usize = 7;
    const ICMP: u8 = ICMP6;
    const PORT_UNREACHABLE: [u8; 2] = [1, 4];
    const TOO_BIG: [u8; 2] = [2, 0];
    const TIME_EXCEEDED: [u8; 2] = [3, 0];
    const ECHO: [u8; 2] = [128, 129];
    const AF: u8 = AF_INET6;
    const CHECKSUM: Option<usize> = None;
    // The low one.
    const HOP: u64 = u16::to_be(0xfffe) as u64;

    #[inline(always)]
    fn frontends() -> &'static HashMap<FrontendKey<Self>, Frontend> {
        &maps::FRONTENDS6
    }
    #[inline(always)]
    fn filter() -> &'static Array<u64> {
        &maps::FILTER6
    }
    #[inline(always)]
    fn backends() -> &'static Array<Backend<Self>> {
        &maps::BACKENDS6
    }
    #[inline(always)]
    fn pods() -> &'static HashMap<Self, Pod> {
        &maps::PODS6
    }
    #[inline(always)]
    fn near() -> &'static Array<Near<Self>> {
        &maps::NEAR6
    }
    #[inline(always)]
    fn devices() -> &'static Array<Device<Self>> {
        &maps::DEVICES6
    }
    #[inline(always)]
    fn conntrack() -> &'static HashMap<Tuple<Self>, Entry<Self>> {
        &maps::CONNTRACK6
    }

    #[inline(always)]
    fn pending() -> &'static PerCpuArray<Pending<Self>> {
        &maps::PENDING6
    }

    #[inline(always)]
    fn parsed() -> &'static PerCpuArray<Parsed<Self>> {
        &maps::PARSED6
    }
    #[inline(always)]
    fn ways() -> &'static PerCpuArray<Entry<Self>> {
        &maps::WAYS6
    }
    #[inline(always)]
    fn overflow() -> &'static LruHashMap<Tuple<Self>, Entry<Self>> {
        &maps::OVERFLOW6
    }
    #[inline(always)]
    fn fragments() -> &'static LruHashMap<Tuple<Self>, Entry<Self>> {
        &maps::FRAGMENTS6
    }
    #[inline(always)]
    fn peers() -> &'static LruHashMap<PeerKey<Self>, Peer<Self>> {
        &maps::PEERS6
    }
    #[inline(always)]
    fn node_address() -> Self {
        settings::node_v6()
    }
    #[inline(always)]
    fn in_service_range(self) -> bool {
        let (range, mask) = (settings::services_v6(), settings::services_mask_v6());
        mask[0] != 0
            && self[0] & mask[0] == range[0]
            && self[1] & mask[1] == range[1]
            && self[2] & mask[2] == range[2]
            && self[3] & mask[3] == range[3]
    }
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }
    #[inline(always)]
    fn is_link_local(self) -> bool {
        let unspecified = self[0] | self[1] | self[2] | self[3] == 0;
        unspecified || u32::from_be(self[0]) >> 22 == 0xfe80 >> 6
    }
    #[inline(always)]
    fn is_near(self) -> bool {
        let word = u32::from_be(self[0]);
        word >> 24 == 0xff || word >> 22 == 0xfe80 >> 6
    }

    #[inline(always)]
    fn write_header(header: &mut [u8; 40], source: Self, destination: Self, protocol: u8, payload: u16) {
        let length = payload.to_be_bytes();
        header[0] = 0x60;
        header[4] = length[0];
        header[5] = length[1];
        header[6] = protocol;
        header[7] = 64;
        let mut word = 0;
        while word < 4 {
            let (from, to) = (source[word].to_ne_bytes(), destination[word].to_ne_bytes());
            let mut index = 0;
            while index < 4 {
                header[8 + word * 4 + index] = from[index];
                header[24 + word * 4 + index] = to[index];
                index += 1;
            }
            word += 1;
        }
    }
}

/// Where the checksum stands in the header of TCP, UDP and ICMP.
#[inline(always)]
pub fn checksum_offset(protocol: u8) -> usize {
    match protocol {
        TCP => 16,
        UDP => 6,
        _ => 2,
    }
}
