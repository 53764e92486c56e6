//! The one place that touches BPF maps and programs: loads, attaches, pins, takes over, reads and writes.

pub mod table;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use fairway_common as common;
use fairway_common::{Reason, event::Event, reason::Count};
use table::{Image, Op, Tables};

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
    /// Write an event at each decision.
    pub trace: bool,
}

/// Why the data path could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {}

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

/// The loaded and attached data path of one node.
///
/// Dropping it leaves everything in force: links and maps are pinned.
#[derive(Debug)]
pub struct Datapath {}

impl Datapath {
    /// Loads the programs, and takes over the maps and links that an earlier agent pinned.
    pub fn open(_options: Options) -> Result<Self, Error> {
        unimplemented!()
    }

    /// Attaches to a device through which traffic reaches and leaves the node. Again is a success.
    pub fn attach_network(&mut self, _interface: &str) -> Result<(), Error> {
        unimplemented!()
    }

    /// Attaches to the sockets of a cgroup v2 directory and everything below it. Again is a success.
    pub fn attach_sockets(&mut self, _cgroup: &std::path::Path) -> Result<(), Error> {
        unimplemented!()
    }

    /// Attaches to a pod's device on the node's side. Again is a success.
    pub fn attach_pod(&mut self, _interface: &str) -> Result<(), Error> {
        unimplemented!()
    }

    /// Forgets what was attached to a device that is gone or about to go.
    pub fn detach(&mut self, _interface: &str) -> Result<(), Error> {
        unimplemented!()
    }

    /// Adds or replaces pods' addresses.
    pub fn put_pod(&mut self, _pod: &Pod) -> Result<(), Error> {
        unimplemented!()
    }

    /// Removes a pod's address; one that is not there is a success.
    pub fn delete_pod(&mut self, _address: IpAddr) -> Result<(), Error> {
        unimplemented!()
    }

    /// The pods in the kernel, sorted by address.
    pub fn pods(&self) -> Result<Vec<Pod>, Error> {
        unimplemented!()
    }

    /// Swaps all programs for builds that do or do not write events; attachments never have a gap.
    pub fn set_tracing(&mut self, _on: bool) -> Result<(), Error> {
        unimplemented!()
    }

    /// Opens the event ring. One reader at a time.
    pub fn events(&self) -> Result<Events, Error> {
        unimplemented!()
    }

    /// Counts of all reasons, summed over CPUs.
    pub fn counts(&self) -> Result<Vec<(Reason, Count)>, Error> {
        unimplemented!()
    }

    /// Events that found the ring full.
    pub fn events_lost(&self) -> Result<u64, Error> {
        unimplemented!()
    }

    /// Translated connections, sorted.
    pub fn connections(&self) -> Result<Vec<Connection>, Error> {
        unimplemented!()
    }

    /// Removes connections that have been silent for longer than their state allows; returns how many.
    pub fn collect(&mut self) -> Result<usize, Error> {
        unimplemented!()
    }

    /// The loaded programs, by name.
    pub fn programs(&self) -> Result<Vec<ProgramInfo>, Error> {
        unimplemented!()
    }

    /// The maps, by name.
    pub fn maps(&self) -> Result<Vec<MapInfo>, Error> {
        unimplemented!()
    }

    /// Detaches and unpins everything below `pins`. Goes on after an error and reports all of them.
    pub fn remove(_pins: &std::path::Path) -> Result<(), Error> {
        unimplemented!()
    }
}

impl Tables for Datapath {
    type Error = Error;

    fn image(&self) -> Result<Image, Error> {
        unimplemented!()
    }

    fn apply(&mut self, _op: &Op) -> Result<(), Error> {
        unimplemented!()
    }
}

/// The pinned maps alone, opened for reading while no agent runs.
#[derive(Debug)]
pub struct Pinned {}

impl Pinned {
    /// Opens what is pinned below `pins`.
    pub fn open(_pins: &std::path::Path) -> Result<Self, Error> {
        unimplemented!()
    }

    /// Everything in the service table.
    pub fn image(&self) -> Result<Image, Error> {
        unimplemented!()
    }

    /// As [`Datapath::pods`].
    pub fn pods(&self) -> Result<Vec<Pod>, Error> {
        unimplemented!()
    }

    /// As [`Datapath::counts`].
    pub fn counts(&self) -> Result<Vec<(Reason, Count)>, Error> {
        unimplemented!()
    }

    /// As [`Datapath::events_lost`].
    pub fn events_lost(&self) -> Result<u64, Error> {
        unimplemented!()
    }

    /// As [`Datapath::connections`].
    pub fn connections(&self) -> Result<Vec<Connection>, Error> {
        unimplemented!()
    }

    /// As [`Datapath::maps`].
    pub fn maps(&self) -> Result<Vec<MapInfo>, Error> {
        unimplemented!()
    }
}

/// The event ring. Its file descriptor is readable when an event is there.
#[derive(Debug)]
pub struct Events {}

impl Events {
    /// The next event, if there is one.
    pub fn next_event(&mut self) -> Option<Event> {
        unimplemented!()
    }
}

impl std::os::fd::AsRawFd for Events {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        unimplemented!()
    }
}
