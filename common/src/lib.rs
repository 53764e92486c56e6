//! What the kernel programs and user space share: map keys and values, reasons, events, limits.
//!
//! Every byte that crosses that border is defined here once and its size is proven at compile time.
//! Addresses and ports are kept in network byte order, as they stand in a packet.
#![no_std]

pub mod affinity;
pub mod checksum;
pub mod conntrack;
pub mod event;
pub mod family;
pub mod fragment;
pub mod harness;
pub mod limits;
pub mod link;
pub mod network;
pub mod pod;
pub mod ranges;
pub mod reason;
pub mod service;
pub mod socket;

pub use family::{Family, V4, V6};
pub use reason::Reason;

/// TCP's number in the IP header.
pub const TCP: u8 = 6;
/// UDP's number in the IP header.
pub const UDP: u8 = 17;
/// ICMP's number in the IPv4 header.
pub const ICMP: u8 = 1;
/// That of ICMP for IPv6.
pub const ICMP6: u8 = 58;

/// Lets user space store a type in Aya's maps, and proves the type's size on every build.
macro_rules! shared {
    ($($name:ident<A: Family>: $v4:literal, $v6:literal;)*) => {$(
        const _: () = assert!(core::mem::size_of::<$name<crate::V4>>() == $v4);
        const _: () = assert!(core::mem::size_of::<$name<crate::V6>>() == $v6);
        #[cfg(feature = "user")]
        #[expect(unsafe_code, reason = "plain integers, no padding: the sizes above add up")]
        // SAFETY: `repr(C)`, made of integers only, without implicit padding (sizes asserted above).
        unsafe impl<A: crate::Family> aya::Pod for $name<A> {}
    )*};
    ($($name:ident: $size:literal;)*) => {$(
        const _: () = assert!(core::mem::size_of::<$name>() == $size);
        #[cfg(feature = "user")]
        #[expect(unsafe_code, reason = "plain integers, no padding: the size above adds up")]
        // SAFETY: `repr(C)`, made of integers only, without implicit padding (size asserted above).
        unsafe impl aya::Pod for $name {}
    )*};
}
pub(crate) use shared;
