//! Packets as tests write them: built whole, compared field by field, checksums proven.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions,
    Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, NetHeaders, PacketBuilder,
    PacketHeaders, TcpHeader,
};
use fairway_common::conntrack::tcp;

pub(crate) type Mac = [u8; 6];

/// Bytes of the Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// What stands between the addresses and the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    Nothing,
    /// IPv4 options, or an IPv6 hop-by-hop header: router alert and padding, 8 bytes.
    Options,
    /// Part of a fragmented packet, at this offset in units of eight bytes.
    Fragment {
        offset: u16,
        more: bool,
    },
}

/// The transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Tcp {
        flags: u8,
        sequence: u32,
        acknowledgment: u32,
    },
    Udp {
        checksum: bool,
    },
    /// ICMP "port unreachable"; the payload is the quoted packet.
    Unreachable,
    /// ICMP "fragmentation needed" or "packet too big", with the MTU.
    TooBig(u16),
    /// ICMP "time exceeded in transit".
    TimeExceeded,
    /// ICMP echo request; its id is the source's port.
    Echo,
    /// Its answer; the id is the destination's port.
    EchoReply,
    /// Another protocol: the payload follows the IP header.
    Other(u8),
}

/// A packet.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) link: [Mac; 2],
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    pub(crate) extra: Extra,
    /// An IPv4 packet that routers may cut into fragments.
    pub(crate) cuttable: bool,
    pub(crate) body: Body,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The same with other TCP flags; a UDP packet stays as it is.
    pub(crate) fn flags(mut self, wanted: u8) -> Self {
        if let Body::Tcp { flags, .. } = &mut self.body {
            *flags = wanted;
        }
        self
    }

    /// The same between others.
    pub(crate) fn between(mut self, source: SocketAddr, destination: SocketAddr) -> Self {
        (self.source, self.destination) = (source, destination);
        self
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub(crate) fn may_be_cut(mut self) -> Self {
        self.cuttable = true;
        self
    }

    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn extra(mut self, extra: Extra) -> Self {
        self.extra = extra;
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The same with link addresses, source first.
    pub(crate) fn link(mut self, link: [Mac; 2]) -> Self {
        self.link = link;
        self
    }

    /// One hop on.
    pub(crate) fn hop(mut self, link: [Mac; 2]) -> Self {
        self.ttl -= 1;
        self.link(link)
    }

    fn ip(&self) -> IpHeaders {
        let (offset, more) = match self.extra {
            Extra::Fragment { offset, more } => (offset, more),
            _ => (0, false),
        };
        let offset = IpFragOffset::try_new(offset).unwrap();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header =
                    Ipv4Header::new(0, self.ttl, IpNumber(0), source.octets(), destination.octets()).unwrap();
                (header.identification, header.fragment_offset) = (self.id, offset);
                (header.more_fragments, header.dont_fragment) =
                    (more, !self.cuttable && !more && offset.value() == 0);
                if self.extra == Extra::Options {
                    header.options = Ipv4Options::try_from(&[0x94, 4, 0, 0, 1, 1, 1, 0][..]).unwrap();
                }
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: 0,
                    next_header: IpNumber(0),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                let mut extensions = Ipv6Extensions::default();
                match self.extra {
                    Extra::Nothing => {}
                    Extra::Options => {
                        let options = [5, 2, 0, 0, 1, 0];
                        extensions.hop_by_hop_options =
                            Some(Ipv6RawExtHeader::new_raw(IpNumber(0), &options).unwrap());
                    }
                    Extra::Fragment { .. } => {
                        extensions.fragment = Some(Ipv6FragmentHeader::new(IpNumber(0), offset, more, 7));
                    }
                }
                IpHeaders::Ipv6(header, extensions)
            }
            _ => panic!("one family: {} and {}", self.source, self.destination),
        }
    }

    pub(crate) fn has_ports(&self) -> bool {
        matches!(self.body, Body::Tcp { .. } | Body::Udp { .. })
    }

    fn is_v4(&self) -> bool {
        self.source.is_ipv4()
    }

    /// The bytes, with valid checksums.
    pub(crate) fn build(&self) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(self.link[0], self.link[1]).ip(self.ip());
        let (source, destination) = (self.source.port(), self.destination.port());
        let mut bytes = Vec::new();
        let written = match self.body {
            Body::Tcp { flags, sequence, acknowledgment } => {
                let mut header = TcpHeader::new(source, destination, sequence, 0);
                header.acknowledgment_number = acknowledgment;
                (header.fin, header.syn) = (flags & tcp::FIN != 0, flags & tcp::SYN != 0);
                (header.rst, header.ack) = (flags & tcp::RST != 0, flags & tcp::ACK != 0);
                builder.tcp_header(header).write(&mut bytes, &self.payload)
            }
            Body::Udp { .. } => builder.udp(source, destination).write(&mut bytes, &self.payload),
            Body::Unreachable if self.is_v4() => {
                builder.icmpv4_raw(3, 3, [0; 4]).write(&mut bytes, &self.payload)
            }
            Body::Unreachable => builder.icmpv6_raw(1, 4, [0; 4]).write(&mut bytes, &self.payload),
            Body::TooBig(mtu) => {
                let [high, low] = mtu.to_be_bytes();
                let extra = [0, 0, high, low];
                match self.is_v4() {
                    true => builder.icmpv4_raw(3, 4, extra).write(&mut bytes, &self.payload),
                    false => builder.icmpv6_raw(2, 0, extra).write(&mut bytes, &self.payload),
                }
            }
            Body::TimeExceeded if self.is_v4() => {
                builder.icmpv4_raw(11, 0, [0; 4]).write(&mut bytes, &self.payload)
            }
            Body::TimeExceeded => builder.icmpv6_raw(3, 0, [0; 4]).write(&mut bytes, &self.payload),
            Body::Echo if self.is_v4() => {
                builder.icmpv4_echo_request(source, 2).write(&mut bytes, &self.payload)
            }
            Body::Echo => builder.icmpv6_echo_request(source, 2).write(&mut bytes, &self.payload),
            Body::EchoReply if self.is_v4() => {
                builder.icmpv4_echo_reply(destination, 2).write(&mut bytes, &self.payload)
            }
            Body::EchoReply => builder.icmpv6_echo_reply(destination, 2).write(&mut bytes, &self.payload),
            Body::Other(protocol) => builder.write(&mut bytes, IpNumber(protocol), &self.payload),
        };
        written.unwrap();
        if self.body == (Body::Udp { checksum: false }) {
            let field = self.checksum();
            bytes[field].fill(0);
        }
        bytes
    }

    /// Where the transport header stands.
    pub(crate) fn transport(&self) -> usize {
        let extra = match (self.extra, self.is_v4()) {
            (Extra::Nothing, _) | (Extra::Fragment { .. }, true) => 0,
            (Extra::Options, _) | (Extra::Fragment { .. }, false) => 8,
        };
        ETHERNET + if self.is_v4() { 20 } else { 40 } + extra
    }

    /// Where the transport checksum stands.
    fn checksum(&self) -> std::ops::Range<usize> {
        let start = self.transport()
            + match self.body {
                Body::Tcp { .. } => 16,
                Body::Udp { .. } => 6,
                _ => 2,
            };
        start..start + 2
    }

    fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp { .. } => 6,
            Body::Udp { .. } => 17,
            Body::Other(protocol) => protocol,
            _ if self.is_v4() => 1,
            _ => 58,
        }
    }

    /// Says how `bytes` differ from this packet. Checksums need not be the same (there are two zeros) but right.
    pub(crate) fn differs(&self, bytes: &[u8]) -> Option<String> {
        let wanted = self.build();
        if bytes == wanted {
            return None;
        }
        let show = |problem: &str| {
            Some(format!("{problem}\n  expected {}\n  found    {}", Shown(&wanted), Shown(bytes)))
        };
        let mut masked = [wanted.clone(), bytes.to_vec()];
        for bytes in &mut masked {
            let no_checksum = matches!(self.body, Body::Udp { checksum: false } | Body::Other(_));
            if !no_checksum && let Some(field) = bytes.get_mut(self.checksum()) {
                field.fill(0);
            }
            if self.is_v4() {
                bytes[ETHERNET + 10..ETHERNET + 12].fill(0);
            }
        }
        if masked[0] != masked[1] {
            return show("another packet");
        }
        if self.is_v4() && sum(&bytes[ETHERNET..self.transport()], 0) != 0xffff {
            return show("the IP header's checksum is wrong");
        }
        let segment = &bytes[self.transport()..];
        let addresses = match self.is_v4() {
            true => &bytes[ETHERNET + 12..ETHERNET + 20],
            false => &bytes[ETHERNET + 8..ETHERNET + 40],
        };
        let pseudo = match self.protocol() {
            1 => 0,
            protocol => u32::from(sum(addresses, 0)) + u32::from(protocol) + segment.len() as u32,
        };
        if self.body != (Body::Udp { checksum: false }) && sum(segment, pseudo) != 0xffff {
            return show("the transport checksum is wrong");
        }
        None
    }
}

/// One's complement sum.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The source port of a packet, also of a first fragment.
pub(crate) fn source_port(bytes: &[u8]) -> u16 {
    let transport = match PacketHeaders::from_ethernet_slice(bytes).unwrap().net.unwrap() {
        NetHeaders::Ipv4(header, _) => ETHERNET + header.header_len(),
        NetHeaders::Ipv6(_, extensions) => ETHERNET + 40 + extensions.header_len(),
        other => panic!("no ports: {other:?}"),
    };
    u16::from_be_bytes([bytes[transport], bytes[transport + 1]])
}

/// A packet for people.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PacketHeaders::from_ethernet_slice(self.0) {
            Ok(headers) => write!(
                f,
                "{} bytes: {:?} {:?} {:?} {:02x?}...",
                self.0.len(),
                headers.link,
                headers.net,
                headers.transport,
                &headers.payload.slice()[..headers.payload.slice().len().min(16)]
            ),
            Err(error) => {
                write!(f, "{} bytes ({error}): {:02x?}...", self.0.len(), &self.0[..self.0.len().min(80)])
            }
        }
    }
}
