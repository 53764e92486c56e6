//! Pods of this node: where a packet for a pod's address is delivered.

use crate::shared;

/// A pod of this node; the key is its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Index of the pod's device on the node's side.
    pub ifindex: u32,
    /// Bits of the constants below. The kernel programs set [`Pod::TRANSLATES`], user space the rest.
    pub flags: u32,
    /// Address of the device inside the pod.
    pub pod_mac: [u8; 6],
    /// Address of the device on the node's side.
    pub node_mac: [u8; 6],
    /// Zero.
    pub pad: u32,
}

impl Pod {
    /// The pod has had a connection that was translated on the wire: packets to it are looked up in conntrack.
    /// Without this bit a packet between two pods of the node costs one look-up and one redirect.
    pub const TRANSLATES: u32 = 1;
    /// What the pod receives is limited by the qdisc of its device on the node's side: packets must pass it, and are not
    /// handed straight into the pod's namespace.
    pub const SHAPED: u32 = 2;
}

shared! {
    Pod: 24;
}
