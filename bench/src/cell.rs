//! What is measured: a workload, from somewhere, to a Service, on these CPUs.

use std::fmt;

use clap::ValueEnum;

use crate::load::Workload;

/// Where the client is, and where the backends are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum From {
    /// A pod, to backends on its own node
    PodSameNode,
    /// A pod, to backends on the other node
    PodOtherNode,
    /// A process of a node, to backends on that node
    Node,
    /// A machine outside, by a NodePort, to backends on the node that it asks
    NodeportLocal,
    /// A machine outside, by a NodePort, to backends on the other node
    NodeportRemote,
    /// A machine outside, by a load balancer's address, to backends on the node that it comes by
    LbLocal,
    /// A machine outside, by a load balancer's address, to backends on the other node
    LbRemote,
}

impl From {
    /// Its name on command lines and in tables.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Its name in reports: how it comes in is a field of its own.
    #[must_use]
    pub fn place(self) -> &'static str {
        match self {
            Self::PodSameNode => "pod-same-node",
            Self::PodOtherNode => "pod-other-node",
            Self::Node => "node",
            _ => "external",
        }
    }

    /// By what kind of address the Service is asked.
    #[must_use]
    pub fn via(self) -> &'static str {
        match self {
            Self::PodSameNode | Self::PodOtherNode | Self::Node => "clusterip",
            Self::NodeportLocal | Self::NodeportRemote => "nodeport",
            Self::LbLocal | Self::LbRemote => "lb",
        }
    }

    /// Whether the backends are on the other node than the one that the client is on or asks.
    #[must_use]
    pub fn is_far(self) -> bool {
        matches!(self, Self::PodOtherNode | Self::NodeportRemote | Self::LbRemote)
    }
}

/// Which CPUs client and server run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Cpus {
    /// Client and server share one
    Same,
    /// One each
    Each,
}

impl Cpus {
    /// Its name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Each => "each",
        }
    }
}

/// How packets reach the other node's pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Routing {
    /// By the nodes' own routes
    #[default]
    Native,
    /// In tunnels: Fairway's, and for the other peers the kernel's own
    Vxlan,
}

impl Routing {
    /// Its name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Vxlan => "vxlan",
        }
    }
}

/// The IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Family {
    /// IPv4
    #[value(name = "v4", alias = "ipv4")]
    V4,
    /// IPv6
    #[value(name = "v6", alias = "ipv6")]
    V6,
}

impl Family {
    /// Its name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }
}

/// One line of a table, without the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Services that there are.
    pub services: u32,
    /// Backends of the one that is asked.
    pub backends: u32,
    /// The IP family.
    pub family: Family,
    /// Where the client is.
    pub from: From,
    /// What it does.
    pub workload: Workload,
    /// Where it runs.
    pub cpus: Cpus,
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { services, backends, family, from, workload, cpus } = self;
        let (workload, from, family, cpus) = (workload.name(), from.name(), family.name(), cpus.name());
        write!(out, "{workload} {from} {family} services={services} backends={backends} cpus={cpus}")
    }
}
