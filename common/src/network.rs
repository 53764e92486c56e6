//! What is known beyond this node: other nodes, their pods, and what else is left as it is.
//!
//! A longest-prefix-match trie by address, with the keys of [`ranges`](crate::ranges) and no Service. What is not in it is
//! the world: pods' packets to it may take the node's address.

use crate::{V6, shared};

/// A range of addresses beyond this node.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The node whose tunnel leads there, or that takes packets in a header of their own; IPv4 fills the first word.
    pub tunnel: V6,
    /// 4 or 6, the family of `tunnel`; 0: no tunnel, the kernel's routes lead there.
    pub family: u8,
    /// 1: the address of a node itself, not a range of its pods.
    pub node: u8,
    /// Bytes of the longest IP packet that fits into the tunnel.
    pub mtu: u16,
}

/// Address of every node's tunnel device.
pub const TUNNEL_MAC: [u8; 6] = [0x02, 0xfa, 0x14, 0, 0, 1];
/// What packets in a tunnel come from: the kernel drops those that come from the address of its own device.
pub const SENDER_MAC: [u8; 6] = [0x02, 0xfa, 0x14, 0, 0, 2];

shared! {
    Network: 20;
}
