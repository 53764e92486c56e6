//! Who has which address, whether everything in the kernel agrees, and what to do about one that nobody frees.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::SystemTime;

use fairway_proto::node::{
    AddressDifference, AddressRange, AllocatedAddress, ListAddressesResponse, ReleaseAddressRequest,
    ReleaseAddressResponse,
};

use super::force::Force;
use super::ipam;
use super::state::{Record, State};
use super::{Error, wiring};
use crate::netlink::Link;

impl Force {
    /// The ranges, and the addresses that are not free.
    pub(super) fn addresses(&self) -> ListAddressesResponse {
        let cidrs = self.cidrs.borrow().clone();
        self.ledger.look(|state| {
            let used = state.used();
            let range = |cidr: &ipnet::IpNet| AddressRange {
                cidr: cidr.trunc().to_string(),
                size: ipam::size(cidr),
                used: used.iter().filter(|address| cidr.contains(*address)).count() as u64,
            };
            ListAddressesResponse { ranges: cidrs.iter().map(range).collect(), addresses: allocated(state) }
        })
    }

    /// What differs between the list of pods and the kernel. A pod that comes or goes meanwhile is no difference.
    pub(super) async fn differences(&self) -> Result<Vec<AddressDifference>, Error> {
        let mut differences = self.differences_now().await?;
        if !differences.is_empty() {
            let again = self.differences_now().await?;
            differences.retain(|difference| again.contains(difference));
        }
        Ok(differences)
    }

    async fn differences_now(&self) -> Result<Vec<AddressDifference>, Error> {
        let links = self.netlink.links().await?;
        let kernel = Kernel {
            links: links.into_iter().map(|link| (link.name.clone(), link)).collect(),
            routes: self.netlink.pod_routes().await?.into_iter().collect(),
            entries: self
                .with_programs(|programs| programs.pods())
                .await?
                .into_iter()
                .map(|pod| (pod.address, pod.ifindex))
                .collect(),
        };
        Ok(self.ledger.look(|state| kernel.differences(state.pods())))
    }

    /// Frees an address that nobody frees, with all that its pod has.
    pub(super) async fn release(
        &self,
        request: ReleaseAddressRequest,
    ) -> Result<ReleaseAddressResponse, Error> {
        let invalid = |_| Error::Invalid { field: "address", value: request.address.clone() };
        let address: IpAddr = request.address.parse().map_err(invalid)?;
        let owner = |state: &State| state.owner(address).cloned();
        let Some(record) = self.ledger.look(owner) else {
            return self.release_stray(address, request.force).await;
        };
        let _turn = self.turns.take(&record.container_id, &record.interface).await;
        // It may have gone while others had their turn, or belong to a pod whose turn this is not.
        let still = self.ledger.look(owner).filter(|it| it.is(&record.container_id, &record.interface));
        let Some(record) = still else { return Err(Error::FreeAlready { address }) };
        if !request.force && self.is_in_force(&record, &record.netns).await? {
            return Err(Error::Alive { address, owner: owner_of(&record) });
        }
        self.remove(&record).await?;
        Ok(ReleaseAddressResponse {
            namespace: record.namespace,
            name: record.name,
            container_id: record.container_id,
        })
    }

    /// One that the kernel knows and the list of pods does not.
    async fn release_stray(&self, address: IpAddr, force: bool) -> Result<ReleaseAddressResponse, Error> {
        let routes = self.netlink.pod_routes().await?;
        let device = routes.into_iter().find(|(other, _)| *other == address).map(|(_, device)| device);
        let known = self.with_programs(|programs| programs.pods()).await?;
        if device.is_none() && !known.iter().any(|pod| pod.address == address) {
            return Err(Error::FreeAlready { address });
        }
        // A pod is in the list before anything of it is in the kernel: this one came meanwhile.
        if let Some(owner) = self.ledger.look(|state| state.owner(address).map(owner_of)) {
            return Err(Error::Alive { address, owner });
        }
        if let Some(device) = device
            && let Some(link) = self.netlink.link_by_index(device).await?
        {
            if !force {
                return Err(Error::Alive { address, owner: format!("device `{}`", link.name) });
            }
            let others = |state: &State| state.pods().iter().any(|it| it.node_interface == link.name);
            if wiring::is_node_interface(&link.name) && !self.ledger.look(others) {
                // With it go its routes.
                self.netlink.delete_link(&link.name).await?;
            } else {
                self.netlink.delete_pod_route(&link, address).await?;
            }
        }
        self.with_programs(move |programs| programs.delete_pod(address)).await?;
        self.look_for_strays().await?;
        Ok(ReleaseAddressResponse::default())
    }
}

fn owner_of(record: &Record) -> String {
    match record.name.as_str() {
        "" => format!("container `{}`", record.container_id),
        name => format!("pod `{}/{name}`", record.namespace),
    }
}

fn allocated(state: &State) -> Vec<AllocatedAddress> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let of_record = |record: &Record| {
        let record = record.clone();
        record.addresses.clone().into_iter().map(move |address| AllocatedAddress {
            address: address.to_string(),
            namespace: record.namespace.clone(),
            name: record.name.clone(),
            container_id: record.container_id.clone(),
            interface: record.node_interface.clone(),
            age_seconds: (record.since != 0).then(|| now.saturating_sub(record.since)),
            state: if record.complete { "in-use" } else { "incomplete" }.to_owned(),
        })
    };
    let stray = |address: &IpAddr| AllocatedAddress {
        address: address.to_string(),
        state: "unknown-pod".to_owned(),
        ..AllocatedAddress::default()
    };
    state.pods().iter().flat_map(of_record).chain(state.strays().iter().map(stray)).collect()
}

/// What the kernel has of pods.
struct Kernel {
    links: BTreeMap<String, Link>,
    /// Addresses that routes lead to, and through which device.
    routes: BTreeMap<IpAddr, u32>,
    /// Addresses that the data path knows, and at which device.
    entries: BTreeMap<IpAddr, u32>,
}

impl Kernel {
    fn differences(&self, records: &[Record]) -> Vec<AddressDifference> {
        let mut differences: Vec<_> = records.iter().flat_map(|record| self.of_record(record)).collect();
        let mut seen = BTreeSet::new();
        for record in records {
            for address in record.addresses.iter().filter(|address| !seen.insert(**address)) {
                differences.push(difference(*address, record, "another pod has it too"));
            }
        }
        let unknown = |address: &IpAddr, text: &str| AddressDifference {
            address: address.to_string(),
            text: text.to_owned(),
            ..AddressDifference::default()
        };
        for address in self.entries.keys().filter(|address| !seen.contains(address)) {
            differences.push(unknown(address, "the data path has an entry, and no pod has the address"));
        }
        for address in self.routes.keys().filter(|address| !seen.contains(address)) {
            differences.push(unknown(address, "the node has a route, and no pod has the address"));
        }
        let devices: BTreeSet<&str> = records.iter().map(|record| record.node_interface.as_str()).collect();
        for name in self.links.keys().filter(|name| wiring::is_node_interface(name)) {
            if !devices.contains(name.as_str()) {
                let text = format!("device `{name}` is there, and no pod has it");
                differences.push(AddressDifference { text, ..AddressDifference::default() });
            }
        }
        differences
    }

    fn of_record(&self, record: &Record) -> Vec<AddressDifference> {
        let all = |text: &str| record.addresses.iter().map(|&it| difference(it, record, text)).collect();
        if !record.complete {
            return all("it is reserved, and the pod's addition or removal did not come to its end");
        }
        let link = self.links.get(&record.node_interface).filter(|link| link.mac == record.node_mac);
        let Some(link) = link else {
            return all(&format!("device `{}` is missing", record.node_interface));
        };
        let mut differences = Vec::new();
        for &address in &record.addresses {
            for (what, found) in
                [("the data path's entry", &self.entries), ("the node's route", &self.routes)]
            {
                match found.get(&address) {
                    Some(index) if *index == link.index => {}
                    Some(_) => {
                        let text = format!("{what} leads to another device than `{}`", link.name);
                        differences.push(difference(address, record, &text));
                    }
                    None => differences.push(difference(address, record, &format!("{what} is missing"))),
                }
            }
        }
        differences
    }
}

fn difference(address: IpAddr, record: &Record, text: &str) -> AddressDifference {
    AddressDifference {
        address: address.to_string(),
        namespace: record.namespace.clone(),
        name: record.name.clone(),
        container_id: record.container_id.clone(),
        text: text.to_owned(),
    }
}
