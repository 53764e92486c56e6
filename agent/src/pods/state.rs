//! The list of pods, in memory and on disk.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fairway_proto::control::PodStatus;
use serde::{Deserialize, Serialize};

use super::host_ports::Mapping;
use super::ipam::Ipam;
use super::{Error, PodEntry};

/// Grows when an older agent could not read the file any more.
const LAYOUT: u32 = 1;

/// Everything that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    layout: u32,
    pub(super) ipam: Ipam,
    pub(super) pods: Vec<Record>,
    statuses: Vec<Status>,
}

/// One device of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) container_id: String,
    pub(super) interface: String,
    pub(super) netns: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) node_interface: String,
    /// Zero until the device is there.
    pub(super) ifindex: u32,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) pod_mac: [u8; 6],
    pub(super) node_mac: [u8; 6],
    /// Ports of the node that lead to it.
    #[serde(default)]
    pub(super) ports: Vec<Mapping>,
    /// Everything is in force. Without it the agent stopped in the middle of adding or removing the pod.
    pub(super) complete: bool,
}

/// What the kubelet said of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Status {
    namespace: String,
    name: String,
    ready: bool,
    terminating: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { layout: LAYOUT, ipam: Ipam::default(), pods: Vec::new(), statuses: Vec::new() }
    }
}

impl State {
    pub(super) fn find(&self, container_id: &str, interface: &str) -> Option<&Record> {
        self.pods.iter().find(|record| record.is(container_id, interface))
    }

    pub(super) fn used(&self) -> BTreeSet<IpAddr> {
        self.pods.iter().flat_map(|record| record.addresses.iter().copied()).collect()
    }

    /// Adds a pod, or replaces what was known of it. A pod that is new is not ready.
    pub(super) fn put(&mut self, record: Record) {
        if !self.pods.iter().any(|other| other.pod() == record.pod()) {
            self.statuses.retain(|status| status.pod() != record.pod());
        }
        self.pods.retain(|other| !other.is(&record.container_id, &record.interface));
        self.pods.push(record);
    }

    /// Forgets a pod, and its status with its last device.
    pub(super) fn remove(&mut self, record: &Record) {
        self.pods.retain(|other| !other.is(&record.container_id, &record.interface));
        if !self.pods.iter().any(|other| other.pod() == record.pod()) {
            self.statuses.retain(|status| status.pod() != record.pod());
        }
    }

    /// Notes a pod's readiness. One without a device (it uses the node's network) is forgotten when it has come
    /// to its end: nobody else says that it is gone.
    pub(super) fn set_status(&mut self, namespace: &str, name: &str, ready: bool, terminating: bool) {
        let pod = (namespace, name);
        self.statuses.retain(|status| status.pod() != pod);
        if ready || !terminating || self.pods.iter().any(|record| record.pod() == pod) {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            self.statuses.push(Status { namespace, name, ready, terminating });
        }
    }

    /// The pods in force, sorted.
    pub(super) fn entries(&self) -> Vec<PodEntry> {
        let complete = self.pods.iter().filter(|record| record.complete);
        let mut entries: Vec<_> = complete.map(|record| record.entry(self.status_of(record.pod()))).collect();
        entries.sort_by(|a, b| key(a).cmp(&key(b)));
        entries
    }

    /// What the control plane is told: the pods in force, then those that have a status only.
    pub(super) fn statuses(&self) -> Vec<PodStatus> {
        let mut statuses: Vec<PodStatus> = Vec::new();
        for entry in self.entries() {
            let addresses = entry.addresses.iter().map(IpAddr::to_string);
            match statuses.last_mut() {
                Some(last) if last.namespace == entry.namespace && last.name == entry.name => {
                    last.addresses.extend(addresses);
                }
                _ => statuses.push(PodStatus {
                    addresses: addresses.collect(),
                    namespace: entry.namespace,
                    name: entry.name,
                    ready: entry.ready,
                    terminating: entry.terminating,
                }),
            }
        }
        let without_device = self
            .statuses
            .iter()
            .filter(|status| !self.pods.iter().any(|record| record.pod() == status.pod()));
        statuses.extend(without_device.map(Status::without_addresses));
        statuses.retain(|status| !status.name.is_empty());
        statuses
    }

    fn status_of(&self, pod: (&str, &str)) -> Option<&Status> {
        self.statuses.iter().find(|status| status.pod() == pod)
    }
}

fn key(entry: &PodEntry) -> (&str, &str, &str, &str) {
    (&entry.namespace, &entry.name, &entry.container_id, &entry.interface)
}

impl Record {
    pub(super) fn is(&self, container_id: &str, interface: &str) -> bool {
        self.container_id == container_id && self.interface == interface
    }

    fn pod(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    fn entry(&self, status: Option<&Status>) -> PodEntry {
        PodEntry {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            container_id: self.container_id.clone(),
            netns: self.netns.clone(),
            interface: self.interface.clone(),
            node_interface: self.node_interface.clone(),
            ifindex: self.ifindex,
            addresses: self.addresses.clone(),
            pod_mac: self.pod_mac,
            node_mac: self.node_mac,
            ready: status.is_some_and(|status| status.ready),
            terminating: status.is_some_and(|status| status.terminating),
        }
    }
}

impl Status {
    fn pod(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    fn without_addresses(&self) -> PodStatus {
        PodStatus {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            addresses: Vec::new(),
            ready: self.ready,
            terminating: self.terminating,
        }
    }
}

/// The file that the state is kept in. It holds the old or the new state at any time, never a part.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// A file `pods.json` in `directory`, which is made if it is missing.
    pub(super) fn new(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("pods.json");
        match std::fs::create_dir_all(directory) {
            Ok(()) => Ok(Self { path }),
            Err(source) => Err(Error::State { path, source }),
        }
    }

    /// Reads the state; an empty one if there is no file.
    pub(super) fn read(&self) -> Result<State, Error> {
        let failed = |source| Error::State { path: self.path.clone(), source };
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(failed(error)),
        };
        #[derive(Deserialize)]
        struct Head {
            layout: u32,
        }
        let head: Head = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
        if head.layout != LAYOUT {
            return Err(Error::Layout { path: self.path.clone(), found: head.layout, known: LAYOUT });
        }
        serde_json::from_slice(&text).map_err(|error| failed(error.into()))
    }

    /// Replaces the state on disk; when this returns it outlives a loss of power.
    pub(super) async fn write(&self, state: &State) -> Result<(), Error> {
        let path = self.path.clone();
        let text = serde_json::to_vec(state).map_err(io::Error::from);
        let written = tokio::task::spawn_blocking(move || replace(&path, &text?)).await;
        written
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| Error::State { path: self.path.clone(), source })
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
pub(super) mod tests;
