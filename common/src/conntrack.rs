//! Connection tracking: the tuple a packet has, and the tuple it becomes.
//!
//! A translated connection has two entries. The *original* entry's key is the tuple that the client sends;
//! `to` is what the packet becomes. The *reply* entry's key is `to` reversed, and its `to` is the original
//! tuple reversed. Either entry alone finds the other, and DNAT, SNAT and both together are one case.

use crate::link::Link;
use crate::{Family, TCP, checksum, shared};

/// Who talks to whom.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port, network byte order.
    pub source_port: u16,
    /// Destination port, network byte order.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

impl<A: Family> Tuple<A> {
    /// The tuple of the packets in the other direction.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..*self
        }
    }

    /// What a checksum over the addresses changes by when they become another tuple's, see [`checksum`].
    #[inline(always)]
    pub fn change_of_addresses(&self, to: &Self) -> u64 {
        let mut sum = checksum::NONE;
        let (source, destination) = (self.source.to_wide(), self.destination.to_wide());
        let (new_source, new_destination) = (to.source.to_wide(), to.destination.to_wide());
        let mut word = 0;
        while word < size_of::<A>() / 4 {
            sum = checksum::change(sum, source[word], new_source[word]);
            sum = checksum::change(sum, destination[word], new_destination[word]);
            word += 1;
        }
        sum
    }

    /// The sum over addresses, protocol and length of a segment that its checksum begins with (the pseudo header).
    #[inline(always)]
    pub fn pseudo_sum(&self, length: u16) -> u16 {
        checksum::fold(self.sum() + length.to_be() as u64)
    }

    /// The same without the length, unfolded.
    #[inline(always)]
    fn sum(&self) -> u64 {
        let mut sum = (self.protocol as u16).to_be() as u64;
        let (source, destination) = (self.source.to_wide(), self.destination.to_wide());
        let mut word = 0;
        while word < size_of::<A>() / 4 {
            sum += source[word] as u64 + destination[word] as u64;
            word += 1;
        }
        sum
    }

    /// What an entry keeps for the checksums of packets that become another tuple's.
    #[inline(always)]
    pub fn sums(&self, to: &Self) -> Sums {
        Sums { addresses: checksum::fold(self.change_of_addresses(to)), pseudo: checksum::fold(self.sum()) }
    }

    /// Both ports, as they stand in a packet.
    #[inline(always)]
    pub fn ports(&self) -> u32 {
        let ([a, b], [c, d]) = (self.source_port.to_ne_bytes(), self.destination_port.to_ne_bytes());
        u32::from_ne_bytes([a, b, c, d])
    }

    /// What a checksum over the ports changes by.
    #[inline(always)]
    pub fn change_of_ports(&self, to: &Self) -> u64 {
        checksum::change(checksum::NONE, self.ports(), to.ports())
    }
}

/// One direction of a translated connection.
///
/// With its key and the 48 bytes that the kernel adds it takes whole cache lines, 128 and 192 bytes, so that a look-up
/// among many connections waits for as few as there can be.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<A: Family> {
    /// The tuple that a packet of this direction becomes.
    pub to: Tuple<A>,
    /// When this direction was last seen, in [`tick`]s.
    pub last_seen: u32,
    /// Bits of the constants in [`flags`]: what this direction has seen.
    pub flags: u32,
    /// The Service port's id.
    pub service: u32,
    /// The backend's id.
    pub backend: u32,
    /// Where the last packet of this direction went.
    pub hop: Hop,
    /// For the checksums.
    pub sums: Sums,
    /// The node that took it in a header of its own (IP in IP), as long as `hop` holds; unspecified: it had none.
    pub far: A,
    /// Zero.
    pub rest: A::Rest,
}

/// What is the same in the checksums of all packets of a direction, so that nobody adds up addresses for each packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// What a checksum over the addresses changes by, see [`checksum`].
    pub addresses: u16,
    /// The sum over the pseudo header without the length, as the packet comes.
    pub pseudo: u16,
}

impl Sums {
    /// Those of the replies, whose addresses change back.
    #[inline(always)]
    pub fn back(self) -> Self {
        Self {
            addresses: !self.addresses,
            pseudo: checksum::fold(self.pseudo as u64 + self.addresses as u64),
        }
    }

    /// The sum over the whole pseudo header of a segment, as [`Tuple::pseudo_sum`] gives it.
    #[inline(always)]
    pub fn pseudo_sum(self, length: u16) -> u16 {
        checksum::fold(self.pseudo as u64 + length.to_be() as u64)
    }
}

/// The way of a translated packet out of the node, as long as the direction's [`Entry::last_seen`] is the present tick: so
/// pods and routes are looked up once a tick and not for each packet, and a change is followed within one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Index of the device.
    pub ifindex: u32,
    /// Bytes of the longest IP packet that goes this way.
    pub mtu: u16,
    /// One of the constants of [`hop`].
    pub kind: u8,
    /// Zero.
    pub pad: u8,
    /// The link addresses.
    pub link: Link,
}

/// Values of [`Hop::kind`].
pub mod hop {
    /// Not known: the way is looked up.
    pub const NONE: u8 = 0;
    /// Out of the device.
    pub const OUT: u8 = 1;
    /// Into the namespace in which the device's peer is.
    pub const PEER: u8 = 2;
}

/// The clock of connection tracking: the kernel's monotonic nanoseconds in steps of 2^30 ns (1.07 s), so that the
/// packet path shifts instead of dividing. Wraps after 146 years.
#[inline(always)]
pub fn tick(monotonic_ns: u64) -> u32 {
    (monotonic_ns >> 30) as u32
}

/// Bits of [`Entry::flags`].
pub mod flags {
    /// This is the reply direction.
    pub const REPLY: u32 = 1;
    /// A SYN was seen in this direction.
    pub const SYN: u32 = 1 << 1;
    /// A FIN was seen in this direction.
    pub const FIN: u32 = 1 << 2;
    /// A RST was seen in this direction.
    pub const RST: u32 = 1 << 3;
    /// A TCP segment without SYN, or any UDP packet, was seen in this direction.
    pub const DATA: u32 = 1 << 4;
    /// Packets keep their addresses, and the backend's node answers the client itself: `to` says only where they are sent,
    /// and there is no entry of the replies.
    pub const DIRECT: u32 = 1 << 5;
}

/// Flags of the TCP header.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 1 << 1;
    /// Reset the connection.
    pub const RST: u8 = 1 << 2;
    /// The acknowledgment field is valid.
    pub const ACK: u8 = 1 << 4;
}

/// The bits that a packet adds to the entry of its direction; `tcp_flags` is 0 for UDP.
#[inline(always)]
pub fn observe(protocol: u8, tcp_flags: u8) -> u32 {
    if protocol != TCP {
        return flags::DATA;
    }
    let mut seen = 0;
    if tcp_flags & tcp::SYN != 0 {
        seen |= flags::SYN;
    } else {
        seen |= flags::DATA;
    }
    if tcp_flags & tcp::FIN != 0 {
        seen |= flags::FIN;
    }
    if tcp_flags & tcp::RST != 0 {
        seen |= flags::RST;
    }
    seen
}

/// What both directions together say of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// TCP: no answer yet.
    SynSent,
    /// TCP: the client answered the server's SYN; UDP: both sides have spoken.
    Established,
    /// UDP: only one side has spoken.
    Unreplied,
    /// TCP: one side has sent FIN.
    FinWait,
    /// TCP: both sides have sent FIN.
    Closing,
    /// TCP: one side has sent RST, which may be spurious (S46).
    Reset,
}

impl State {
    /// The state, from the flags of the two directions.
    #[inline(always)]
    pub fn of(protocol: u8, original: u32, reply: u32) -> Self {
        // Answers that come by another way are taken for given.
        let reply =
            if original & flags::DIRECT != 0 { flags::REPLY | flags::SYN | flags::DATA } else { reply };
        let both = original & reply;
        let any = original | reply;
        if protocol != TCP {
            return if both & flags::DATA != 0 { State::Established } else { State::Unreplied };
        }
        if both & flags::FIN != 0 {
            State::Closing
        } else if any & flags::RST != 0 {
            State::Reset
        } else if any & flags::FIN != 0 {
            State::FinWait
        } else if reply != flags::REPLY && reply != 0 {
            State::Established
        } else {
            State::SynSent
        }
    }

    /// The name that listings print.
    pub fn name(self) -> &'static str {
        match self {
            State::SynSent => "syn-sent",
            State::Established => "established",
            State::Unreplied => "unreplied",
            State::FinWait => "fin-wait",
            State::Closing => "closing",
            State::Reset => "reset",
        }
    }

    /// How long a silent connection is kept, in seconds.
    pub fn timeout(self, protocol: u8) -> u32 {
        match (self, protocol) {
            (State::SynSent, _) => 60,
            (State::Established, TCP) => 21_600,
            (State::Established, _) => 120,
            (State::Unreplied, _) => 30,
            (State::FinWait | State::Reset, _) => 120,
            (State::Closing, _) => 10,
        }
    }
}

shared! {
    Tuple<A: Family>: 16, 40;
    Entry<A: Family>: 64, 104;
}
shared! {
    Hop: 20;
    Sums: 4;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{UDP, V4};

    #[test]
    fn a_tuple_reversed_twice_is_itself() {
        let tuple: Tuple<V4> = Tuple {
            source: [1],
            destination: [2],
            source_port: 3,
            destination_port: 4,
            protocol: TCP,
            pad: [0; 3],
        };
        assert_eq!(tuple.reversed().reversed(), tuple);
        assert_eq!(tuple.reversed().source_port, 4);
    }

    #[test]
    fn the_sums_of_an_entry_are_those_of_its_packets() {
        let tuple = |source, destination| Tuple::<V4> {
            source: [source],
            destination: [destination],
            source_port: 3,
            destination_port: 4,
            protocol: TCP,
            pad: [0; 3],
        };
        let numbers = [0, 1, 0xff, 0xffff, 0x1_0000, 0x0a00_0001, 0x8000_0000, u32::MAX];
        for (old, new) in numbers.iter().flat_map(|old| numbers.map(|new| (*old, new))) {
            let (from, to) = (tuple(old, !new), tuple(new, old));
            let sums = from.sums(&to);
            assert_eq!(sums.addresses, checksum::fold(from.change_of_addresses(&to)));
            let (back, there) = (sums.back(), to.reversed().sums(&from.reversed()));
            assert_eq!(back.pseudo, there.pseudo);
            // Both zeros are the same to a sum.
            assert_eq!(back.addresses % u16::MAX, there.addresses % u16::MAX);
            for length in [0, 8, 1480, u16::MAX] {
                assert_eq!(sums.pseudo_sum(length), from.pseudo_sum(length));
            }
        }
    }

    #[test]
    fn tcp_moves_from_syn_to_established_to_closing() {
        let mut original = observe(TCP, tcp::SYN);
        let mut reply = flags::REPLY;
        assert_eq!(State::of(TCP, original, reply), State::SynSent);
        reply |= observe(TCP, tcp::SYN | tcp::ACK);
        original |= observe(TCP, tcp::ACK);
        assert_eq!(State::of(TCP, original, reply), State::Established);
        original |= observe(TCP, tcp::FIN | tcp::ACK);
        assert_eq!(State::of(TCP, original, reply), State::FinWait);
        reply |= observe(TCP, tcp::FIN | tcp::ACK);
        assert_eq!(State::of(TCP, original, reply), State::Closing);
        assert_eq!(State::of(TCP, flags::SYN, flags::REPLY | observe(TCP, tcp::RST)), State::Reset);
    }

    #[test]
    fn a_connection_whose_answers_go_another_way_is_established_until_the_client_ends_it() {
        let seen = flags::DIRECT | flags::DATA;
        for protocol in [TCP, UDP] {
            assert_eq!(State::of(protocol, seen, flags::REPLY), State::Established);
        }
        assert_eq!(State::of(TCP, seen | flags::FIN, flags::REPLY), State::FinWait);
        assert_eq!(State::of(TCP, seen | flags::RST, flags::REPLY), State::Reset);
    }

    #[test]
    fn udp_is_established_when_both_sides_spoke() {
        assert_eq!(State::of(UDP, flags::DATA, flags::REPLY), State::Unreplied);
        assert_eq!(State::of(UDP, flags::DATA, flags::REPLY | flags::DATA), State::Established);
    }
}
