//! The pods of this node: their addresses, their devices and what is told of them.

mod addresses;
mod check;
mod deletions;
mod error;
mod fault;
mod force;
mod host_ports;
mod ipam;
mod ledger;
mod limits;
mod programs;
mod restore;
mod service;
mod state;
mod store;
mod sysctl;
mod turns;
mod wiring;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use fairway_proto::control::PodStatus;
use fairway_proto::model::ObjectName;
use fairway_proto::node::{
    AddRequest, AddResponse, AddressDifference, CheckRequest, CollectRequest, DeleteRequest,
    ListAddressesResponse, ReleaseAddressRequest, ReleaseAddressResponse, SetStatusRequest,
};
use ipnet::IpNet;
use tokio::sync::watch;

pub use error::Error;
pub use fault::{FAULT, Step};
pub use programs::{ProgramError, Programs};
pub use service::{CNI_CODE, service};
pub(crate) use sysctl::of_node_device;

use crate::netlink::Netlink;
use crate::resolve::{HostPort, HostPorts};
use force::Force;

/// Name of the directory, inside the state directory, where the plugin leaves deletions while no agent answers.
pub const DELETIONS: &str = "deletions";

/// What [`Pods::open`] is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory that holds `pods.redb`; made if it is missing.
    pub state_dir: PathBuf,
    /// Ranges that pods' addresses are taken from; may be empty until [`Pods::set_cidrs`].
    pub cidrs: Vec<IpNet>,
    /// The largest packets of pods.
    pub mtu: Mtu,
}

/// The largest packets of pods, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtu {
    /// Of their devices: what they must be able to receive, as large as the node's network device has them.
    pub device: u32,
    /// Of what they send, where tunnels leave less room.
    pub route: Option<u32>,
}

/// A pod of this node, as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEntry {
    /// Its namespace; empty if the runtime did not say.
    pub namespace: String,
    /// Its name; empty if the runtime did not say.
    pub name: String,
    /// The runtime's id of its sandbox.
    pub container_id: String,
    /// Path of its network namespace.
    pub netns: String,
    /// The device inside it.
    pub interface: String,
    /// The device on the node's side.
    pub node_interface: String,
    /// The index of that device.
    pub ifindex: u32,
    /// Its addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Hardware address of the device inside it.
    pub pod_mac: [u8; 6],
    /// Hardware address of the device on the node's side.
    pub node_mac: [u8; 6],
    /// It passes its readiness probes.
    pub ready: bool,
    /// It is being stopped.
    pub terminating: bool,
}

/// The devices on the node's side of all pods that the state in `state_dir` knows of.
///
/// # Errors
///
/// The state cannot be read.
pub fn devices(state_dir: &std::path::Path) -> Result<Vec<String>, Error> {
    let state = store::peek(state_dir)?;
    Ok(state.pods().iter().map(|record| record.node_interface.clone()).collect())
}

/// The pods of this node. Clones share one state.
///
/// A change runs to its end even if the one who asked for it goes away: nothing is left half-made.
#[derive(Clone)]
pub struct Pods {
    force: Arc<Force>,
}

impl Pods {
    /// Reads the state that an earlier agent left, puts its pods in force again and forgets those that are gone.
    /// `netlink` and the calling thread belong to the node's network namespace.
    pub async fn open(
        options: Options,
        netlink: Netlink,
        programs: Arc<dyn Programs>,
    ) -> Result<Self, Error> {
        Ok(Self { force: Arc::new(Force::open(options, netlink, programs).await?) })
    }

    /// Replaces the ranges that new pods' addresses are taken from; pods keep the addresses that they have.
    pub fn set_cidrs(&self, cidrs: Vec<IpNet>) {
        self.force.set_cidrs(cidrs);
    }

    /// Returns when there are ranges to take addresses from.
    pub async fn have_ranges(&self) {
        self.force.have_ranges().await;
    }

    /// Gives a pod addresses and a device, and returns when traffic flows. Again for the same container and
    /// device returns the same addresses. After an error nothing is left behind.
    pub async fn add(&self, request: AddRequest) -> Result<AddResponse, Error> {
        let force = self.force.clone();
        to_its_end(async move { force.add(request).await }).await
    }

    /// Removes a pod; one that is not there is a success. Goes on after an error; what could not be removed is
    /// tried again with the next call, and at the agent's next start.
    pub async fn delete(&self, request: DeleteRequest) -> Result<(), Error> {
        let force = self.force.clone();
        to_its_end(async move { force.delete(request).await }).await
    }

    /// Fails if a pod is not as it was added: a device, address, route or program is missing.
    pub async fn check(&self, request: CheckRequest) -> Result<(), Error> {
        self.force.check(request).await
    }

    /// Removes all pods but the listed ones. Goes on after an error.
    pub async fn collect(&self, request: CollectRequest) -> Result<(), Error> {
        let force = self.force.clone();
        to_its_end(async move { force.collect(request).await }).await
    }

    /// Fails if no pod could be added now, because there is no range or no free address.
    pub async fn ready(&self) -> Result<(), Error> {
        self.force.ready().await
    }

    /// Notes a pod's readiness and termination.
    pub async fn set_status(&self, request: SetStatusRequest) -> Result<(), Error> {
        let force = self.force.clone();
        to_its_end(async move { force.set_status(request).await }).await
    }

    /// The pods that have a device, sorted by namespace, name, container and device.
    #[must_use]
    pub fn list(&self) -> Vec<PodEntry> {
        self.force.ledger.entries.borrow().clone()
    }

    /// The ranges of pods' addresses, and who has which.
    #[must_use]
    pub fn addresses(&self) -> ListAddressesResponse {
        self.force.addresses()
    }

    /// What differs between the list of pods and the kernel's devices, routes and entries.
    pub async fn differences(&self) -> Result<Vec<AddressDifference>, Error> {
        self.force.differences().await
    }

    /// Frees an address that nobody frees. Fails if a pod uses it, unless that is forced.
    pub async fn release(&self, request: ReleaseAddressRequest) -> Result<ReleaseAddressResponse, Error> {
        let force = self.force.clone();
        to_its_end(async move { force.release(request).await }).await
    }

    /// What the control plane is told: all pods, now and after each change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Vec<PodStatus>> {
        self.force.ledger.statuses.subscribe()
    }

    /// The node's ports that lead to a pod, under the name that they have in [`Self::host_ports`]; none: it has none.
    fn host_ports_of(&self, container_id: &str, interface: &str) -> Option<(ObjectName, Arc<[HostPort]>)> {
        let name = host_ports::name(&self.force.find(container_id, interface)?);
        let ports = self.force.ledger.host_ports.borrow().get(&name)?.clone();
        Some((name, ports))
    }

    /// The node's ports that lead to its pods, now and after each change.
    #[must_use]
    pub fn host_ports(&self) -> watch::Receiver<HostPorts> {
        self.force.ledger.host_ports.subscribe()
    }
}

async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Stopping),
        },
    }
}
