//! The link addresses of a packet.

use crate::shared;

/// The two link addresses that an Ethernet header begins with, as they stand there: three words, which are written faster than
/// twelve bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link([u32; 3]);

impl Link {
    /// From whom, for whom.
    #[inline(always)]
    pub const fn new(source: [u8; 6], destination: [u8; 6]) -> Self {
        let ([a, b, c, d, e, f], [u, v, w, x, y, z]) = (destination, source);
        Self([
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, u, v]),
            u32::from_ne_bytes([w, x, y, z]),
        ])
    }

    /// Whom the packet comes from.
    #[inline(always)]
    pub const fn source(self) -> [u8; 6] {
        let ([_, _, u, v], [w, x, y, z]) = (self.0[1].to_ne_bytes(), self.0[2].to_ne_bytes());
        [u, v, w, x, y, z]
    }

    /// Whom it is for.
    #[inline(always)]
    pub const fn destination(self) -> [u8; 6] {
        let ([a, b, c, d], [e, f, _, _]) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        [a, b, c, d, e, f]
    }
}

shared! {
    Link: 12;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_addresses_stand_as_in_a_packet() {
        let (source, destination) = ([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]);
        let link = Link::new(source, destination);
        assert_eq!((link.source(), link.destination()), (source, destination));
        let words = [[7, 8, 9, 10], [11, 12, 1, 2], [3, 4, 5, 6]];
        assert_eq!(link.0, words.map(u32::from_ne_bytes));
    }
}
