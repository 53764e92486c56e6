//! Pods of this node: where a packet for a pod's address is delivered.

use crate::family::spread;
use crate::link::Link;
use crate::{Family, limits, shared};

/// A pod of this node; the key is its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Index of the pod's device on the node's side.
    pub ifindex: u32,
    /// Bits of the constants below. The kernel programs set [`Pod::TRANSLATES`], user space the rest.
    pub flags: u32,
    /// From the device on the node's side to the one inside the pod.
    pub link: Link,
    /// In [`Near`]: how many other pods have this place, and are in the table of all pods only. Elsewhere zero.
    pub others: u32,
}

impl Pod {
    /// The pod has had a connection that was translated on the wire: packets to it are looked up in conntrack.
    /// Without this bit a packet between two pods of the node costs one look-up and one redirect.
    pub const TRANSLATES: u32 = 1;
    /// What the pod receives is limited by the qdisc of its device on the node's side: packets must pass it, and are not
    /// handed straight into the pod's namespace.
    pub const SHAPED: u32 = 2;
}

/// A pod's device on the node's side and the address of one family that packets from it have: the device with index `i` is
/// at `i % `[`limits::DEVICES`](crate::limits::DEVICES), unless another one took its place.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device<A> {
    /// Its index.
    pub ifindex: u32,
    /// As [`Pod::flags`].
    pub flags: u32,
    /// The pod's address.
    pub address: A,
}

/// A pod once more, at the [`place`] of its address: so an array finds it, which costs next to nothing, or says that there is
/// none. Where two pods have one place the second one is in the table of all pods only.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near<A> {
    /// The pod; device 0: none.
    pub pod: Pod,
    /// Its address.
    pub address: A,
}

/// Where the pod of an address has its [`Near`].
#[inline(always)]
pub fn place<A: Family>(address: A) -> u32 {
    spread(address) >> (u32::BITS - limits::NEAR.trailing_zeros())
}

shared! {
    Pod: 24;
}
shared! {
    Device<A: Family>: 12, 24;
    Near<A: Family>: 28, 40;
}
