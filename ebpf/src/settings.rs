//! What user space sets once, before the programs are loaded. The verifier knows the values and removes the
//! branches that they rule out.

use core::ptr::addr_of;

use fairway_common::{V4, V6};

/// Source of IPv4 connections whose replies must come back to this node: to a backend of another node, or from a pod
/// to itself; zero: none.
#[unsafe(no_mangle)]
static NODE_V4: V4 = [0];
/// The same for IPv6.
#[unsafe(no_mangle)]
static NODE_V6: V6 = [0; 4];
/// First port of such connections, host byte order.
#[unsafe(no_mangle)]
static NAT_PORT_FIRST: u32 = 1024;
/// Number of ports from the first one on.
#[unsafe(no_mangle)]
static NAT_PORT_COUNT: u32 = 28976;
/// Cookie of the network namespace whose sockets are translated; zero: all.
#[unsafe(no_mangle)]
static SOCKETS_OF: u64 = 0;
/// The range that IPv4 Services get their addresses from, and its mask; mask zero: not known.
#[unsafe(no_mangle)]
static SERVICES_V4: V4 = [0];
/// See `SERVICES_V4`.
#[unsafe(no_mangle)]
static SERVICES_MASK_V4: V4 = [0];
/// The same for IPv6.
#[unsafe(no_mangle)]
static SERVICES_V6: V6 = [0; 4];
/// See `SERVICES_V6`.
#[unsafe(no_mangle)]
static SERVICES_MASK_V6: V6 = [0; 4];
/// 1: every connection to a Service comes from this node's address (S21).
#[unsafe(no_mangle)]
static MASQUERADE_ALL: u32 = 0;
/// Index of the tunnel's device; 0: packets to other nodes' pods are routed as they are.
#[unsafe(no_mangle)]
static TUNNEL: u32 = 0;
/// The number of the tunnels' network (VNI).
#[unsafe(no_mangle)]
static TUNNEL_ID: u32 = 0;
/// The UDP port of tunnels, host byte order.
#[unsafe(no_mangle)]
static TUNNEL_PORT: u32 = 0;
/// Families in which pods' packets to the world take the node's address: 1: IPv4; 2: IPv6; 3: both.
#[unsafe(no_mangle)]
static MASQUERADE: u32 = 0;
/// The cookie of the node's own network namespace, the only one whose loopback addresses have NodePorts (S75); 0: none.
#[unsafe(no_mangle)]
static HOST_NETNS: u64 = 0;
/// Packets from outside to other nodes' backends go there as they are, where the frontend allows it: 1: to a node that is
/// next on the way; 2: in a header of their own, to any node; 0: none do.
#[unsafe(no_mangle)]
static DIRECT: u32 = 0;
/// 1: write an event at each decision.
#[unsafe(no_mangle)]
static TRACE: u32 = 0;

macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $global:ident, $kind:ty) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() -> $kind {
            // SAFETY: a read-only global, read through its address so that the compiler keeps the load.
            unsafe { addr_of!($global).read_volatile() }
        }
    };
}

getter!(/** See `NODE_V4`. */ node_v4, NODE_V4, V4);
getter!(/** See `NODE_V6`. */ node_v6, NODE_V6, V6);
getter!(/** See `NAT_PORT_FIRST`. */ nat_port_first, NAT_PORT_FIRST, u32);
getter!(/** See `NAT_PORT_COUNT`. */ nat_port_count, NAT_PORT_COUNT, u32);
getter!(/** See `SERVICES_V4`. */ services_v4, SERVICES_V4, V4);
getter!(/** See `SERVICES_MASK_V4`. */ services_mask_v4, SERVICES_MASK_V4, V4);
getter!(/** See `SERVICES_V6`. */ services_v6, SERVICES_V6, V6);
getter!(/** See `SERVICES_MASK_V6`. */ services_mask_v6, SERVICES_MASK_V6, V6);
getter!(/** See `SOCKETS_OF`. */ sockets_of, SOCKETS_OF, u64);
getter!(/** See `TUNNEL`. */ tunnel, TUNNEL, u32);
getter!(/** See `TUNNEL_ID`. */ tunnel_id, TUNNEL_ID, u32);
getter!(/** See `TUNNEL_PORT`. */ tunnel_port, TUNNEL_PORT, u32);
getter!(/** See `MASQUERADE`. */ masquerade, MASQUERADE, u32);
getter!(/** See `HOST_NETNS`. */ host_netns, HOST_NETNS, u64);

/// Whether every connection to a Service comes from this node's address.
#[inline(always)]
pub fn masquerade_all() -> bool {
    // SAFETY: as above.
    unsafe { addr_of!(MASQUERADE_ALL).read_volatile() != 0 }
}

/// Whether packets go to other nodes' backends as they are.
#[inline(always)]
pub fn direct() -> bool {
    // SAFETY: as above.
    unsafe { addr_of!(DIRECT).read_volatile() != 0 }
}

/// Whether they have a header of their own on the way.
#[inline(always)]
pub fn encloses() -> bool {
    // SAFETY: as above.
    unsafe { addr_of!(DIRECT).read_volatile() == 2 }
}

/// Whether events are written.
#[inline(always)]
pub fn trace() -> bool {
    // SAFETY: as above.
    unsafe { addr_of!(TRACE).read_volatile() != 0 }
}
