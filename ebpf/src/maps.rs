//! The maps: who writes and who reads each is in ARCHITECTURE.md.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use fairway_common::affinity;
use fairway_common::conntrack::{Entry, Tuple};
use fairway_common::fragment::Held;
use fairway_common::network::Network;
use fairway_common::pod::{Device, Near, Pod};
use fairway_common::ranges::Source;
use fairway_common::reason::Count;
use fairway_common::service::{Backend, Frontend, FrontendKey};
use fairway_common::socket::{Peer, PeerKey};
use fairway_common::{Family, V4, V6, limits};

use crate::packet::Parsed;
use crate::stage::clock::Moment;

#[map]
pub static FRONTENDS4: HashMap<FrontendKey<V4>, Frontend> = HashMap::pinned(limits::FRONTENDS, 0);
#[map]
pub static FRONTENDS6: HashMap<FrontendKey<V6>, Frontend> = HashMap::pinned(limits::FRONTENDS, 0);
#[map]
pub static FILTER4: Array<u64> = Array::pinned(limits::FILTER, 0);
#[map]
pub static FILTER6: Array<u64> = Array::pinned(limits::FILTER, 0);
#[map]
pub static SLOTS: Array<u32> = Array::pinned(limits::SLOTS, 0);
#[map]
pub static BACKENDS4: Array<Backend<V4>> = Array::pinned(limits::BACKENDS, 0);
#[map]
pub static BACKENDS6: Array<Backend<V6>> = Array::pinned(limits::BACKENDS, 0);
#[map]
pub static PODS4: HashMap<V4, Pod> = HashMap::pinned(limits::PODS, 0);
#[map]
pub static PODS6: HashMap<V6, Pod> = HashMap::pinned(limits::PODS, 0);
#[map]
pub static NEAR4: Array<Near<V4>> = Array::pinned(limits::NEAR, 0);
#[map]
pub static NEAR6: Array<Near<V6>> = Array::pinned(limits::NEAR, 0);
#[map]
pub static DEVICES4: Array<Device<V4>> = Array::pinned(limits::DEVICES, 0);
#[map]
pub static DEVICES6: Array<Device<V6>> = Array::pinned(limits::DEVICES, 0);
#[map]
pub static CONNTRACK4: HashMap<Tuple<V4>, Entry<V4>> = HashMap::pinned(limits::CONNTRACK, 0);
#[map]
pub static CONNTRACK6: HashMap<Tuple<V6>, Entry<V6>> = HashMap::pinned(limits::CONNTRACK, 0);
/// A connection while it is being recorded: too large for the stack, which kernels before 6.8 count in steps of 32 bytes.
#[repr(C)]
pub struct Pending<A: Family> {
    /// What its packets become.
    pub to: Tuple<A>,
    /// The key of its replies.
    pub key: Tuple<A>,
    /// What is to be written.
    pub entry: Entry<A>,
}

/// Of this CPU, and of these programs alone: not pinned.
#[map]
pub static PENDING4: PerCpuArray<Pending<V4>> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static PENDING6: PerCpuArray<Pending<V6>> = PerCpuArray::with_max_entries(1, 0);
/// The time, as this CPU knows it: likewise.
#[map]
pub static MOMENT: PerCpuArray<Moment> = PerCpuArray::with_max_entries(1, 0);
/// The packet that this CPU is at: likewise.
#[map]
pub static PARSED4: PerCpuArray<Parsed<V4>> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static PARSED6: PerCpuArray<Parsed<V6>> = PerCpuArray::with_max_entries(1, 0);
/// The ways to other nodes' backends of connections of which nothing is noted, each at the place of its backend's id: `to`
/// says which backend it is for. Of this CPU and these programs alone: not pinned.
#[map]
pub static WAYS4: PerCpuArray<Entry<V4>> = PerCpuArray::with_max_entries(WAYS, 0);
#[map]
pub static WAYS6: PerCpuArray<Entry<V6>> = PerCpuArray::with_max_entries(WAYS, 0);
/// Places of ways.
pub const WAYS: u32 = 256;
/// Connections that found the table full: here the one that was silent longest makes room.
#[map]
pub static OVERFLOW4: LruHashMap<Tuple<V4>, Entry<V4>> = LruHashMap::pinned(limits::OVERFLOW, 0);
#[map]
pub static OVERFLOW6: LruHashMap<Tuple<V6>, Entry<V6>> = LruHashMap::pinned(limits::OVERFLOW, 0);
/// One word: whether the overflow tables may hold anything. User space clears it when they are empty.
#[map]
pub static OVERFLOWED: Array<u32> = Array::pinned(1, 0);
/// Epoch and number of the state of the cluster that the agent last began to write to the tables. Only the agent reads it.
#[map]
pub static VERSION: Array<[u64; 2]> = Array::pinned(1, 0);
/// What the first fragment of a datagram became: the others have no ports.
#[map]
pub static FRAGMENTS4: LruHashMap<Tuple<V4>, Entry<V4>> = LruHashMap::pinned(limits::FRAGMENTS, 0);
#[map]
pub static FRAGMENTS6: LruHashMap<Tuple<V6>, Entry<V6>> = LruHashMap::pinned(limits::FRAGMENTS, 0);
/// Fragments that came before their first.
#[map]
pub static HELD: LruHashMap<Tuple<V6>, Held> = LruHashMap::pinned(limits::HELD, 0);
/// Room for one more, on its way there: it is too long for the stack.
#[map]
pub static HOLDING: PerCpuArray<Held> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static AFFINITY: LruHashMap<affinity::Key, affinity::Choice> = LruHashMap::pinned(limits::AFFINITY, 0);
#[map]
pub static RANGES: LpmTrie<Source, u32> = LpmTrie::pinned(limits::RANGES, 0);
/// What is known beyond this node.
#[map]
pub static NETWORKS: LpmTrie<Source, Network> = LpmTrie::pinned(limits::NETWORKS, 0);
#[map]
pub static PEERS4: LruHashMap<PeerKey<V4>, Peer<V4>> = LruHashMap::pinned(limits::PEERS, 0);
#[map]
pub static PEERS6: LruHashMap<PeerKey<V6>, Peer<V6>> = LruHashMap::pinned(limits::PEERS, 0);
/// Counts by reason; the last entry counts events that found the ring full.
#[map]
pub static COUNTS: PerCpuArray<Count> = PerCpuArray::pinned(limits::COUNTS, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::pinned(limits::EVENT_BYTES, 0);
