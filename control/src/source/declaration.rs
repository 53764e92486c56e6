//! What manifests or a cluster declare, with what only the endpoints controller needs beside the model.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fairway_proto::model::{self, ObjectName, Protocol};
use imbl::OrdMap;

use super::Problem;

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The family of an address.
    pub(crate) fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// Where an object is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file's name inside the directory, or the API server's address.
    pub(crate) file: Arc<str>,
    /// Line and column in the file, from 1.
    pub(crate) at: Option<(u64, u64)>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at {
            Some((line, _)) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// A declared thing and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Declared<T> {
    pub(crate) origin: Origin,
    pub(crate) value: T,
}

/// One object of a file.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Service(Arc<Declared<Service>>),
    Slice(Arc<Declared<Slice>>),
    Endpoints(Arc<Declared<Endpoints>>),
    Pod(Arc<Declared<Pod>>),
    Node(Arc<Declared<model::Node>>),
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) model: model::Service,
    /// Empty: only hand-written endpoints.
    pub(crate) selector: BTreeMap<String, String>,
    /// The target of each of the model's ports, in the same order.
    pub(crate) targets: Vec<Target>,
    /// Empty: whatever families its pods have.
    pub(crate) families: Vec<Family>,
    /// `clusterIP: None`.
    pub(crate) headless: bool,
    /// Label service.kubernetes.io/service-proxy-name: another proxy serves it (S16).
    pub(crate) hidden: bool,
}

/// A Service port's targetPort.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    Number(u16),
    /// Named by a container port of each pod.
    Name(String),
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slice {
    pub(crate) model: model::EndpointSlice,
    /// Label service.kubernetes.io/headless, or an address type that is not IP (S16).
    pub(crate) hidden: bool,
    /// Written by Kubernetes' own endpoints controller, from Pods.
    pub(crate) from_pods: bool,
    /// Written by Kubernetes' own mirror controller, from an Endpoints object.
    pub(crate) mirrored: bool,
}

/// An object of the deprecated kind Endpoints, as the slices that mirror it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Endpoints {
    pub(crate) name: ObjectName,
    /// Without names: these depend on nothing but the order.
    pub(crate) slices: Vec<model::EndpointSlice>,
    /// Label endpointslice.kubernetes.io/skip-mirror.
    pub(crate) skip_mirror: bool,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    pub(crate) name: ObjectName,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) node: Option<String>,
    pub(crate) host_network: bool,
    /// status.podIPs, the primary one first.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    /// Succeeded or failed: it never answers again.
    pub(crate) finished: bool,
    /// Named container ports.
    pub(crate) ports: Vec<(String, Protocol, u16)>,
}

/// Everything that is declared. A clone shares everything, and what is different in two states is found without looking at
/// the rest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declarations {
    pub(crate) services: OrdMap<ObjectName, Arc<Declared<Service>>>,
    pub(crate) slices: OrdMap<ObjectName, Arc<Declared<Slice>>>,
    pub(crate) endpoints: OrdMap<ObjectName, Arc<Declared<Endpoints>>>,
    pub(crate) pods: OrdMap<ObjectName, Arc<Declared<Pod>>>,
    pub(crate) nodes: OrdMap<String, Arc<Declared<model::Node>>>,
    /// Objects of kinds that Fairway does not read, by kind.
    pub(crate) skipped: BTreeMap<String, usize>,
    /// Sorted by place.
    pub(crate) problems: Vec<Problem>,
    /// Every file was good at least once: nothing that agents serve can be missing (S104).
    pub(crate) complete: bool,
}

impl Declarations {
    /// These, and of those before the Services, slices and Nodes that are gone.
    pub(crate) fn keeping(self, before: &Self) -> Self {
        Self {
            services: self.services.union(before.services.clone()),
            slices: self.slices.union(before.slices.clone()),
            nodes: self.nodes.union(before.nodes.clone()),
            ..self
        }
    }
}
