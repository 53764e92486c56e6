//! The pods of this node: their addresses, their devices and what is told of them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fairway_datapath::{Datapath, Pod};
use fairway_proto::control::PodStatus;
use fairway_proto::node::{AddRequest, AddResponse, DeleteRequest, SetStatusRequest, pods_server};
use ipnet::IpNet;
use tokio::sync::watch;

use crate::netlink::Netlink;

/// Why a pod could not be added or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {}

/// Any error of the data path.
pub type ProgramError = Box<dyn std::error::Error + Send + Sync>;

/// What pods need of the data path.
pub trait Programs: Send + Sync + 'static {
    /// As [`Datapath::attach_pod`].
    fn attach_pod(&self, interface: &str) -> Result<(), ProgramError>;
    /// As [`Datapath::detach`].
    fn detach(&self, interface: &str) -> Result<(), ProgramError>;
    /// As [`Datapath::put_pod`].
    fn put_pod(&self, pod: &Pod) -> Result<(), ProgramError>;
    /// As [`Datapath::delete_pod`].
    fn delete_pod(&self, address: IpAddr) -> Result<(), ProgramError>;
    /// As [`Datapath::pods`].
    fn pods(&self) -> Result<Vec<Pod>, ProgramError>;
}

impl Programs for Mutex<Datapath> {
    fn attach_pod(&self, _interface: &str) -> Result<(), ProgramError> {
        unimplemented!()
    }

    fn detach(&self, _interface: &str) -> Result<(), ProgramError> {
        unimplemented!()
    }

    fn put_pod(&self, _pod: &Pod) -> Result<(), ProgramError> {
        unimplemented!()
    }

    fn delete_pod(&self, _address: IpAddr) -> Result<(), ProgramError> {
        unimplemented!()
    }

    fn pods(&self) -> Result<Vec<Pod>, ProgramError> {
        unimplemented!()
    }
}

/// What [`Pods::open`] is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory that holds `pods.json`; made if it is missing.
    pub state_dir: PathBuf,
    /// Ranges that pods' addresses are taken from; may be empty until [`Pods::set_cidrs`].
    pub cidrs: Vec<IpNet>,
    /// Largest packet of the pods' devices, in bytes: that of the node's network device.
    pub mtu: u32,
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

/// The pods of this node. Clones share one state.
#[derive(Clone)]
pub struct Pods {}

impl Pods {
    /// Reads the state that an earlier agent left, puts its pods in force again and forgets those that are gone.
    /// `netlink` and the calling thread belong to the node's network namespace.
    pub async fn open(
        _options: Options,
        _netlink: Netlink,
        _programs: Arc<dyn Programs>,
    ) -> Result<Self, Error> {
        unimplemented!()
    }

    /// Replaces the ranges that new pods' addresses are taken from; pods keep the addresses that they have.
    pub fn set_cidrs(&self, _cidrs: Vec<IpNet>) {
        unimplemented!()
    }

    /// Gives a pod addresses and a device, and returns when traffic flows. Again for the same container and
    /// device returns the same addresses. After an error nothing is left behind.
    pub async fn add(&self, _request: AddRequest) -> Result<AddResponse, Error> {
        unimplemented!()
    }

    /// Removes a pod; one that is not there is a success.
    pub async fn delete(&self, _request: DeleteRequest) -> Result<(), Error> {
        unimplemented!()
    }

    /// Notes a pod's readiness and termination.
    pub async fn set_status(&self, _request: SetStatusRequest) -> Result<(), Error> {
        unimplemented!()
    }

    /// The pods that have a device, sorted by namespace, name, container and device.
    #[must_use]
    pub fn list(&self) -> Vec<PodEntry> {
        unimplemented!()
    }

    /// What the control plane is told: all pods, now and after each change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Vec<PodStatus>> {
        unimplemented!()
    }
}

/// The gRPC server of `fairway.node.v1.Pods`. Errors carry CNI's error code in the metadata key `cni-code`.
#[must_use]
pub fn service(pods: Pods) -> pods_server::PodsServer<impl pods_server::Pods> {
    service::Server::into_service(pods)
}

mod service {
    use fairway_proto::node::*;
    pub(super) struct Server {
        #[expect(dead_code, reason = "soon")]
        pods: super::Pods,
    }
    impl Server {
        pub(super) fn into_service(pods: super::Pods) -> pods_server::PodsServer<Self> {
            pods_server::PodsServer::new(Self { pods })
        }
    }
    #[tonic::async_trait]
    impl pods_server::Pods for Server {
        async fn add(
            &self,
            _: tonic::Request<AddRequest>,
        ) -> Result<tonic::Response<AddResponse>, tonic::Status> {
            unimplemented!()
        }
        async fn delete(
            &self,
            _: tonic::Request<DeleteRequest>,
        ) -> Result<tonic::Response<DeleteResponse>, tonic::Status> {
            unimplemented!()
        }
        async fn set_status(
            &self,
            _: tonic::Request<SetStatusRequest>,
        ) -> Result<tonic::Response<SetStatusResponse>, tonic::Status> {
            unimplemented!()
        }
    }
}
