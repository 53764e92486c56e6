//! Fragments: what the first one of a datagram became, and those that came before it (S85).
//!
//! A datagram is named by a [`Tuple`] with its id where the ports stand: first fragments in `FRAGMENTS4` and
//! `FRAGMENTS6` have an [`Entry`](crate::conntrack::Entry), whose `to` holds the addresses that all of them get.

use crate::conntrack::Tuple;
use crate::{Family, V6, shared};

/// Bytes behind the link addresses of the longest frame that is held: a mask, as the kernel's verifier wants it.
pub const MASK: u32 = 0x7ff;
/// Room for such a frame.
pub const BYTES: usize = 2064;
/// How many fragments of one datagram may wait for its first.
pub const PLACES: u8 = 8;
/// How long a datagram's id means that datagram, in ticks of connection tracking: as long as receivers wait for the
/// rest of one (RFC 791, RFC 8200).
pub const SECONDS: u32 = 60;

/// A fragment that waits for its first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Bytes of the frame.
    pub length: u32,
    /// When it came, in ticks of connection tracking.
    pub since: u32,
    /// The frame, link addresses included.
    pub bytes: [u8; BYTES],
}

/// The name of a datagram whose addresses are in `tuple`.
#[inline(always)]
pub fn name<A: Family>(tuple: &Tuple<A>, id: u32) -> Tuple<A> {
    Tuple { source_port: id as u16, destination_port: (id >> 16) as u16, ..*tuple }
}

/// The key of the fragment that waits at one of a datagram's [`PLACES`].
#[inline(always)]
pub fn place<A: Family>(name: &Tuple<A>, place: u8) -> Tuple<V6> {
    Tuple {
        source: name.source.to_wide(),
        destination: name.destination.to_wide(),
        source_port: name.source_port,
        destination_port: name.destination_port,
        protocol: name.protocol,
        pad: [A::VERSION, place, 0],
    }
}

shared! {
    Held: 2072;
}
