//! The fields of headers without options, written in place: each one stands where it always does, and one
//! bounds check is enough.

use core::marker::PhantomData;

use fairway_common::checksum;
use fairway_common::conntrack::Tuple;
use fairway_common::link::Link;

use crate::ip::Ip;
use crate::packet::ETHERNET;

/// The link header and the IP header of a packet.
pub struct Fields<A> {
    start: *mut u8,
    family: PhantomData<A>,
}

impl<A: Ip> Fields<A> {
    /// Where the transport header stands.
    pub const TRANSPORT: usize = ETHERNET + A::HEADER;
    /// Bytes up to the end of its ports.
    pub const BYTES: usize = Self::TRANSPORT + 4;

    /// The fields of a packet.
    ///
    /// # Safety
    ///
    /// [`Self::TRANSPORT`] bytes of the packet are behind `start`, and nothing moves them meanwhile.
    #[inline(always)]
    pub unsafe fn new(start: *mut u8) -> Self {
        Self { start, family: PhantomData }
    }

    /// Makes it the packet `to`, one hop on; a sum over the addresses changes by `addresses`.
    ///
    /// # Safety
    ///
    /// [`Self::BYTES`] bytes of the packet are there.
    #[inline(always)]
    pub unsafe fn translate(&self, to: &Tuple<A>, link: Link, addresses: u64) {
        // SAFETY: addresses and ports are within these bytes, and within a tuple, where they stand in the same order; the
        // machine does not mind where a word is.
        unsafe {
            let words = (&raw const *to).cast::<u64>();
            let place = self.start.add(ETHERNET + A::ADDRESSES).cast::<u64>();
            let mut index = 0;
            while index < size_of::<A>() / 4 {
                place.add(index).write(words.add(index).read());
                index += 1;
            }
            self.start.add(Self::TRANSPORT).cast::<u32>().write(to.ports());
        }
        self.hop(link, addresses);
    }

    /// One hop: link addresses, time to live, and the header's checksum, under which `changed` has changed as well.
    #[inline(always)]
    pub fn hop(&self, link: Link, changed: u64) {
        // SAFETY: all these fields are within the headers.
        unsafe {
            self.start.cast::<Link>().write(link);
            let ttl = self.start.add(ETHERNET + A::TTL);
            ttl.write(ttl.read().wrapping_sub(1));
            if let Some(offset) = A::CHECKSUM {
                let check = self.start.add(ETHERNET + offset).cast::<u16>();
                check.write(checksum::update(check.read(), changed + A::HOP));
            }
        }
    }
}
