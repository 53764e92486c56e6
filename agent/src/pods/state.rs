//! The list of pods, and the rows that each change of it writes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fairway_proto::control::PodStatus;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::PodEntry;
use super::host_ports::Mapping;
use super::ipam::{Exhausted, Ipam};
use super::limits::Limits;
use super::store::{Change, Table};

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct State {
    ipam: Ipam,
    pods: Vec<Record>,
    statuses: Vec<Status>,
    /// Addresses that are in use by what no record tells of: pods that were added before the state was lost.
    #[serde(skip)]
    strays: BTreeSet<IpAddr>,
    /// What was changed since [`Self::take_changes`].
    #[serde(skip)]
    changes: Vec<Change>,
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
    /// How fast it may receive and send.
    #[serde(default)]
    pub(super) limits: Limits,
    /// Everything is in force. Without it the agent stopped in the middle of adding or removing the pod.
    pub(super) complete: bool,
    /// When its addresses were given to it, in seconds since 1970; zero: an earlier release gave them.
    #[serde(default)]
    pub(super) since: u64,
}

/// What the kubelet said of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Status {
    namespace: String,
    name: String,
    ready: bool,
    terminating: bool,
}

impl State {
    /// From the database's rows.
    pub(super) fn from_rows(rows: Vec<(Table, String, Vec<u8>)>) -> Result<Self, serde_json::Error> {
        let mut state = Self::default();
        for (table, key, value) in rows {
            match table {
                Table::Pods => state.pods.push(serde_json::from_slice(&value)?),
                Table::Statuses => state.statuses.push(serde_json::from_slice(&value)?),
                Table::Last => {
                    let cidr = serde_json::from_value(key.into())?;
                    state.ipam.last.insert(cidr, serde_json::from_slice(&value)?);
                }
            }
        }
        Ok(state)
    }

    /// All rows.
    pub(super) fn rows(&self) -> Vec<Change> {
        let pods = self.pods.iter().map(Record::row);
        let statuses = self.statuses.iter().map(Status::row);
        let last = self.ipam.last.iter().map(|(cidr, address)| last_row(*cidr, *address));
        pods.chain(statuses).chain(last).collect()
    }

    /// The rows that changes since the last call of this have made different.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn find(&self, container_id: &str, interface: &str) -> Option<&Record> {
        self.pods.iter().find(|record| record.is(container_id, interface))
    }

    pub(super) fn pods(&self) -> &[Record] {
        &self.pods
    }

    /// Who has an address.
    pub(super) fn owner(&self, address: IpAddr) -> Option<&Record> {
        self.pods.iter().find(|record| record.addresses.contains(&address))
    }

    /// The addresses that are not free.
    pub(super) fn used(&self) -> BTreeSet<IpAddr> {
        let known = self.pods.iter().flat_map(|record| record.addresses.iter().copied());
        known.chain(self.strays.iter().copied()).collect()
    }

    /// Addresses that are in use by what no record tells of.
    pub(super) fn strays(&self) -> &BTreeSet<IpAddr> {
        &self.strays
    }

    /// Notes which addresses are in use in the kernel.
    pub(super) fn set_in_use(&mut self, addresses: Vec<IpAddr>) {
        self.strays.clear();
        let known = self.used();
        self.strays.extend(addresses.into_iter().filter(|address| !known.contains(address)));
    }

    /// The addresses that the next pod would get.
    pub(super) fn next_addresses(&self, cidrs: &[IpNet]) -> Result<Vec<IpAddr>, Exhausted> {
        let picked = self.ipam.pick(cidrs, &self.used())?;
        Ok(picked.into_iter().map(|(_, address)| address).collect())
    }

    /// Gives free addresses to a pod that has none yet, and adds it.
    pub(super) fn reserve(&mut self, cidrs: &[IpNet], mut record: Record) -> Result<Record, Exhausted> {
        let picked = self.ipam.pick(cidrs, &self.used())?;
        for (cidr, address) in picked {
            self.ipam.last.insert(cidr, address);
            self.changes.push(last_row(cidr, address));
            record.addresses.push(address);
        }
        self.put(record.clone());
        Ok(record)
    }

    /// Adds a pod, or replaces what was known of it. A pod that is new is not ready.
    pub(super) fn put(&mut self, record: Record) {
        self.changes.push(record.row());
        self.forget_status_unless_known(&record);
        self.pods.retain(|other| !other.is(&record.container_id, &record.interface));
        self.pods.push(record);
    }

    /// Forgets a pod, and its status with its last device.
    pub(super) fn remove(&mut self, record: &Record) {
        self.changes.push(Change { value: None, ..record.row() });
        self.pods.retain(|other| !other.is(&record.container_id, &record.interface));
        self.forget_status_unless_known(record);
    }

    fn forget_status_unless_known(&mut self, record: &Record) {
        if !self.pods.iter().any(|other| other.pod() == record.pod()) {
            self.take_status(record.pod());
        }
    }

    fn take_status(&mut self, pod: (&str, &str)) {
        if let Some(position) = self.statuses.iter().position(|status| status.pod() == pod) {
            let row = self.statuses.remove(position).row();
            self.changes.push(Change { value: None, ..row });
        }
    }

    /// Notes a pod's readiness. One without a device (it uses the node's network) is forgotten when it has come
    /// to its end: nobody else says that it is gone.
    pub(super) fn set_status(&mut self, namespace: &str, name: &str, ready: bool, terminating: bool) {
        let pod = (namespace, name);
        let status = Status { namespace: namespace.into(), name: name.into(), ready, terminating };
        if self.status_of(pod) == Some(&status) {
            return;
        }
        self.take_status(pod);
        if ready || !terminating || self.pods.iter().any(|record| record.pod() == pod) {
            self.changes.push(status.row());
            self.statuses.push(status);
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

fn last_row(cidr: IpNet, address: IpAddr) -> Change {
    row(Table::Last, cidr.to_string(), &address)
}

fn row(table: Table, key: String, value: &impl Serialize) -> Change {
    let value = serde_json::to_vec(value).expect("strings, numbers and addresses are JSON");
    Change { table, key, value: Some(value) }
}

impl Record {
    fn row(&self) -> Change {
        // Neither part can hold a slash: one is an identifier, the other a device's name.
        row(Table::Pods, format!("{}/{}", self.container_id, self.interface), self)
    }

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
    fn row(&self) -> Change {
        row(Table::Statuses, format!("{}/{}", self.namespace, self.name), self)
    }

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

#[cfg(test)]
pub(super) mod tests;
