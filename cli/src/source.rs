//! Where state is read: the agent's socket, or the pinned maps with no agent.

mod agent;
mod kernel;

pub(crate) use agent::{Agent, refused as agent_refused};
use kernel::Kernel;

use crate::args::{self, Global};
use crate::error::Error;
use crate::list::{Affinity, Backend, Connection, Count, Endpoint, Frontend};
use crate::status::Status;

/// A source of state.
pub(crate) enum Source {
    /// The agent.
    Agent(Agent),
    /// The pinned maps.
    Kernel(Box<Kernel>),
}

/// How often what happened.
pub(crate) struct Drops {
    /// By reason.
    pub(crate) counts: Vec<Count>,
    /// Trace events that found the ring full.
    pub(crate) events_lost: u64,
}

impl Source {
    /// Opens the source that was asked for.
    pub(crate) async fn open(global: &Global) -> Result<Self, Error> {
        match global.from {
            args::From::Agent => Ok(Self::Agent(Agent::connect(&global.socket).await?)),
            args::From::Kernel if global.namespace.is_some() => Err(Error::NamesNeedAgent),
            args::From::Kernel => Ok(Self::Kernel(Box::new(Kernel::open(&global.bpf_root)?))),
        }
    }

    /// How the node is.
    pub(crate) async fn status(&mut self) -> Result<Status, Error> {
        match self {
            Self::Agent(agent) => agent.status().await,
            Self::Kernel(kernel) => kernel.status(),
        }
    }

    /// Service addresses.
    pub(crate) async fn frontends(&mut self) -> Result<Vec<Frontend>, Error> {
        match self {
            Self::Agent(agent) => agent.frontends().await,
            Self::Kernel(kernel) => kernel.frontends(),
        }
    }

    /// Backends.
    pub(crate) async fn backends(&mut self) -> Result<Vec<Backend>, Error> {
        match self {
            Self::Agent(agent) => agent.backends().await,
            Self::Kernel(kernel) => kernel.backends(),
        }
    }

    /// Translated connections.
    pub(crate) async fn connections(&mut self) -> Result<Vec<Connection>, Error> {
        match self {
            Self::Agent(agent) => agent.connections().await,
            Self::Kernel(kernel) => kernel.connections(),
        }
    }

    /// Ends connections; returns how many were there.
    pub(crate) async fn flush(&mut self, connections: &[Connection]) -> Result<usize, Error> {
        match self {
            Self::Agent(agent) => agent.flush(connections).await,
            Self::Kernel(kernel) => kernel.flush(connections),
        }
    }

    /// The backends that clients keep.
    pub(crate) async fn affinities(&mut self) -> Result<Vec<Affinity>, Error> {
        match self {
            Self::Agent(agent) => agent.affinities().await,
            Self::Kernel(kernel) => kernel.affinities(),
        }
    }

    /// Pods of the node.
    pub(crate) async fn endpoints(&mut self) -> Result<Vec<Endpoint>, Error> {
        match self {
            Self::Agent(agent) => agent.endpoints().await,
            Self::Kernel(kernel) => kernel.endpoints(),
        }
    }

    /// Counts of all reasons.
    pub(crate) async fn drops(&mut self) -> Result<Drops, Error> {
        match self {
            Self::Agent(agent) => agent.drops().await,
            Self::Kernel(kernel) => kernel.drops(),
        }
    }
}
