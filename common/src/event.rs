//! What the tracing build of the programs writes into the ring at each decision.

use crate::{V6, shared};

/// Where a program is attached.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A packet leaves a pod.
    FromPod = 0,
    /// A packet goes to a pod.
    ToPod = 1,
    /// A packet arrives at the node's device.
    FromNetwork = 2,
    /// A packet leaves by the node's device.
    ToNetwork = 3,
    /// connect().
    Connect = 4,
    /// sendmsg() and sendto() on a UDP socket.
    Sendmsg = 5,
    /// recvmsg() and recvfrom() on a UDP socket.
    Recvmsg = 6,
    /// getpeername().
    Getpeername = 7,
    /// A packet arrives from another node's tunnel.
    FromTunnel = 8,
    /// A packet leaves by the tunnel's device.
    ToTunnel = 9,
}

impl Hook {
    /// All hooks, by number.
    pub const ALL: [Hook; 10] = [
        Hook::FromPod,
        Hook::ToPod,
        Hook::FromNetwork,
        Hook::ToNetwork,
        Hook::Connect,
        Hook::Sendmsg,
        Hook::Recvmsg,
        Hook::Getpeername,
        Hook::FromTunnel,
        Hook::ToTunnel,
    ];

    /// The name that every output uses.
    pub fn name(self) -> &'static str {
        match self {
            Hook::FromPod => "from-pod",
            Hook::ToPod => "to-pod",
            Hook::FromNetwork => "from-network",
            Hook::ToNetwork => "to-network",
            Hook::Connect => "connect",
            Hook::Sendmsg => "sendmsg",
            Hook::Recvmsg => "recvmsg",
            Hook::Getpeername => "getpeername",
            Hook::FromTunnel => "from-tunnel",
            Hook::ToTunnel => "to-tunnel",
        }
    }
}

/// One decision. IPv4 addresses fill the first word.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// The packet's source before the decision; zero at connect().
    pub source: V6,
    /// The packet's destination before the decision.
    pub destination: V6,
    /// The source after it.
    pub new_source: V6,
    /// The destination after it.
    pub new_destination: V6,
    /// Source port before, network byte order.
    pub source_port: u16,
    /// Destination port before.
    pub destination_port: u16,
    /// Source port after.
    pub new_source_port: u16,
    /// Destination port after.
    pub new_destination_port: u16,
    /// Interface index; 0 at socket hooks.
    pub ifindex: u32,
    /// Bytes of the packet; 0 at socket hooks.
    pub length: u32,
    /// The Service port's id, or 0.
    pub service: u32,
    /// [`Reason`](crate::Reason) as a number.
    pub reason: u8,
    /// [`Hook`] as a number.
    pub hook: u8,
    /// 4 or 6.
    pub family: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Flags of the TCP header, or 0.
    pub tcp_flags: u8,
    /// Zero.
    pub pad: [u8; 7],
}

shared! {
    Event: 104;
}
