//! Source ranges of Services: which clients a guarded frontend lets in (S39).
//!
//! A longest-prefix-match trie. The first word of a key names the Service port and the family and is always matched
//! whole, the address follows.

use crate::Family;

/// The data of a key: the Service port and family, then the address as 16 bytes.
pub type Source = [u32; 5];

/// Bits of a key in front of the address.
pub const PREFIX: u32 = 32;

/// The key data of an address; a whole one, or the network address of a range.
#[inline(always)]
pub fn source<A: Family>(service: u32, address: A) -> Source {
    let wide = address.to_wide();
    let word = service << 1 | (A::VERSION == 6) as u32;
    [word, wide[0], wide[1], wide[2], wide[3]]
}
