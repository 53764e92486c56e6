//! The address family as a type: one source for IPv4 and IPv6.

/// An IPv4 address in network byte order.
pub type V4 = [u32; 1];
/// An IPv6 address in network byte order.
pub type V6 = [u32; 4];

/// An address of one family: 32-bit words in network byte order.
pub trait Family: Copy + Eq + core::fmt::Debug + Send + Sync + 'static {
    /// The version field of the IP header, also the number events carry.
    const VERSION: u8;
    /// The address that means "none".
    const UNSPECIFIED: Self;

    /// What makes an entry of conntrack end where a cache line of the kernel's table does: see [`Entry`](crate::conntrack::Entry).
    type Rest: Copy + Eq + core::fmt::Debug + Default + Send + Sync + 'static;

    /// The address as 16 bytes: IPv4 fills the first four, the rest is zero.
    fn to_wide(self) -> V6;
    /// The address of this family that 16 bytes hold.
    fn from_wide(wide: V6) -> Self;
}

impl Family for V4 {
    const VERSION: u8 = 4;
    const UNSPECIFIED: Self = [0];
    type Rest = [u32; 1];

    #[inline(always)]
    fn to_wide(self) -> V6 {
        [self[0], 0, 0, 0]
    }

    #[inline(always)]
    fn from_wide(wide: V6) -> Self {
        [wide[0]]
    }
}

impl Family for V6 {
    const VERSION: u8 = 6;
    const UNSPECIFIED: Self = [0; 4];
    type Rest = [u32; 2];

    #[inline(always)]
    fn to_wide(self) -> V6 {
        self
    }

    #[inline(always)]
    fn from_wide(wide: V6) -> Self {
        wide
    }
}

/// Spreads words that differ little (Knuth's multiplicative hash): the upper bits are the better ones.
pub const SPREAD: u32 = 0x9e37_79b1;

/// Spreads addresses that differ little.
#[inline(always)]
pub fn spread<A: Family>(address: A) -> u32 {
    let words = address.to_wide();
    let mut hash = 0;
    let mut index = 0;
    while index < size_of::<A>() / 4 {
        hash = (hash ^ words[index]).wrapping_mul(SPREAD);
        index += 1;
    }
    hash
}

/// Writes an IPv4 address as it is kept in maps.
pub fn v4(address: core::net::Ipv4Addr) -> V4 {
    [u32::from_ne_bytes(address.octets())]
}

/// Writes an IPv6 address as it is kept in maps.
pub fn v6(address: core::net::Ipv6Addr) -> V6 {
    let bytes = address.octets();
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    words
}

/// Reads an IPv4 address from a map.
pub fn to_ipv4(words: V4) -> core::net::Ipv4Addr {
    core::net::Ipv4Addr::from(words[0].to_ne_bytes())
}

/// Reads an IPv6 address from a map.
pub fn to_ipv6(words: V6) -> core::net::Ipv6Addr {
    let mut bytes = [0; 16];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    core::net::Ipv6Addr::from(bytes)
}
