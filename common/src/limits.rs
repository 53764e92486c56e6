//! Sizes of the maps, in entries. ARCHITECTURE.md gives the memory that each takes.

/// Frontends of one family: Service address, port, protocol.
pub const FRONTENDS: u32 = 131_072;
/// Slots: one for each place of a backend in a frontend's run, both families together.
pub const SLOTS: u32 = 524_288;
/// Backends, both families together: the id is an index into the family's array.
pub const BACKENDS: u32 = 262_144;
/// Pods of one family on this node.
pub const PODS: u32 = 1_024;
/// Places for devices of pods, by their index: more than pods, so that few share one.
pub const DEVICES: u32 = 4_096;
/// Places for pods by their addresses, a power of two: more than pods, so that few share one.
pub const NEAR: u32 = 4_096;
/// Words of the filter in front of one family's frontends, a power of two: a million bits.
pub const FILTER: u32 = 16_384;
/// Conntrack entries of one family: two for each connection.
pub const CONNTRACK: u32 = 262_144;
/// Connections of one family that found [`CONNTRACK`] full: the one silent longest makes room.
pub const OVERFLOW: u32 = 16_384;
/// Datagrams of one family whose first fragment is known.
pub const FRAGMENTS: u32 = 4_096;
/// Fragments that came before their first, both families together.
pub const HELD: u32 = 256;
/// Clients with affinity, and UDP sockets that are not connected; both families together.
pub const AFFINITY: u32 = 65_536;
/// Source ranges, both families together.
pub const RANGES: u32 = 16_384;
/// Ranges and nodes beyond this node, both families together.
pub const NETWORKS: u32 = 65_536;
/// Sockets of one family whose peer was translated.
pub const PEERS: u32 = 65_536;
/// Entries of the table of counts: one for each reason, with room for more, and the last one for lost events.
pub const COUNTS: u32 = 256;
/// Bytes of the event ring.
pub const EVENT_BYTES: u32 = 1 << 20;
/// The longest run of slots that one frontend may have: a prime, the largest Maglev table.
pub const RUN: u32 = 65_537;
/// How often a free SNAT port is looked for before a connection is refused.
pub const PORT_TRIES: u32 = 32;
/// The first source port that says nothing about who uses it (RFC 6335, 6).
pub const PRIVILEGED: u16 = 1024;
/// How long a UDP socket that is not connected keeps its backend after a datagram, in seconds (S62).
pub const SOCKET_SECONDS: u32 = 120;
/// How long a source port rests after its connection has closed, in ticks of connection tracking.
pub const LINGER: u32 = 8;
/// The version of everything in this crate that is pinned: it is part of the pin path.
pub const LAYOUT: u32 = 2;
