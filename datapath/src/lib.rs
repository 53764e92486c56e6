//! The one place that touches BPF maps and programs: loads, attaches, pins, takes over, reads and writes.

pub mod table;

mod attach;
mod connections;
mod error;
mod events;
mod load;
mod maps;
mod node;
mod pinned;
mod raw;
mod remove;
mod repair;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use connections::{Affinity, Client, Collected, ConnectionKey, Socket, Timeouts, Tracker};
pub use error::Error;
pub use events::Events;
pub use fairway_common as common;
pub use load::{OBJECT, PROGRAMS, Programs};
pub use maps::maps;
pub use node::Datapath;
pub use pinned::Pinned;
pub use repair::{Repair, What};

/// What the programs are told when they are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Directory on bpffs below which maps and links are pinned, for example `/sys/fs/bpf/fairway`.
    pub pins: PathBuf,
    /// Sources of connections that are sent on to another node, one of each family that the node has.
    pub node_addresses: Vec<IpAddr>,
    /// First and last port for such connections.
    pub nat_ports: (u16, u16),
    /// Translate at the sockets of this network namespace (its cookie) only; none: at all sockets.
    pub sockets_of: Option<u64>,
    /// The cookie of the node's own network namespace: only its processes find NodePorts at loopback addresses (S75);
    /// none: nobody does.
    pub host_netns: Option<u64>,
    /// Ranges that Services get their addresses from, one of each family at most: packets to addresses in them that
    /// no Service has never leave the node (S35).
    pub service_ranges: Vec<IpNet>,
    /// Every connection to a Service comes from this node's address (S21).
    pub masquerade_all: bool,
    /// IPv4, IPv6: pods' connections to the world come from this node's address.
    pub masquerade: (bool, bool),
    /// Tunnels to other nodes; none: packets to their pods are routed as they are.
    pub tunnel: Option<TunnelDevice>,
    /// How packets from outside go to other nodes' backends, where [`table::Frontend`]s allow it.
    pub direct: Direct,
    /// Load the program for network devices' drivers, see [`Datapath::attach_wire`].
    pub xdp: bool,
    /// Write an event at each decision.
    pub trace: bool,
}

/// Whether packets from outside go to other nodes' backends as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direct {
    /// No: they are translated.
    #[default]
    Off,
    /// To nodes that are next on the way.
    Link,
    /// In a header of their own (IP in IP), to the nodes that [`Network::tunnel`] names.
    Enclosed,
}

/// Where a device runs an XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum XdpMode {
    /// In its driver, before anything is allocated for a packet.
    Native,
    /// In the kernel, on packets that are allocated already: every device can.
    Generic,
}

impl XdpMode {
    /// The name that every output uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// The device of tunnels to other nodes: VXLAN whose packets say by a key where they go (`ip link add type vxlan external`),
/// with the address [`common::network::TUNNEL_MAC`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelDevice {
    /// Its index.
    pub ifindex: u32,
    /// The tunnels' network (VNI), 24 bits.
    pub id: u32,
    /// The UDP port of tunnels.
    pub port: u16,
}

/// Addresses beyond this node that something is known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The addresses.
    pub range: IpNet,
    /// The tunnel that leads there, or the node that has it where packets are [`Direct::Enclosed`]; none: the kernel's
    /// routes lead there.
    pub tunnel: Option<Tunnel>,
    /// It is the address of a node, not a range of its pods.
    pub node: bool,
}

/// The way to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The other end.
    pub node: IpAddr,
    /// Bytes of the longest IP packet that fits.
    pub mtu: u16,
}

/// A pod of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its address.
    pub address: IpAddr,
    /// Index of its device on the node's side.
    pub ifindex: u32,
    /// Address of the device inside the pod.
    pub pod_mac: [u8; 6],
    /// Address of the device on the node's side.
    pub node_mac: [u8; 6],
    /// Packets for it pass the qdisc of the device on the node's side, which limits them.
    pub shaped: bool,
}

/// One translated connection, from its two entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// IP protocol number.
    pub protocol: u8,
    /// The client, as it sent.
    pub source: (IpAddr, u16),
    /// The Service address it asked for.
    pub frontend: (IpAddr, u16),
    /// Where it went.
    pub backend: (IpAddr, u16),
    /// The source that the backend sees.
    pub nat_source: (IpAddr, u16),
    /// The state's name.
    pub state: &'static str,
    /// Time since the last packet of either direction.
    pub idle: Duration,
    /// Time until it is forgotten when no packet comes.
    pub expires: Duration,
    /// The Service port's id.
    pub service: u32,
}

/// A loaded program.
#[derive(Clone, Debug)]
pub struct ProgramInfo {
    /// Its name.
    pub name: String,
    /// Interface name or cgroup path of each attachment.
    pub attached: Vec<String>,
    /// `link` or `clsact`.
    pub method: &'static str,
    /// The kernel's id.
    pub id: u32,
    /// The kernel's tag.
    pub tag: u64,
    /// Instructions that the verifier walked.
    pub verified_instructions: u32,
    /// Bytes locked.
    pub memory: u32,
}

/// A map.
#[derive(Clone, Debug)]
pub struct MapInfo {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// Entries, counted in the kernel; none for arrays.
    pub entries: Option<u64>,
    /// Most entries it can hold.
    pub capacity: u64,
    /// Bytes that the kernel says it takes.
    pub memory: u64,
}
