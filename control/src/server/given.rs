//! A control plane whose state and connections are given: for simulations, where the network and time are the test's.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fairway_proto::control::Version;
use fairway_proto::model::{Resource, ResourceKey};
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tonic::transport::server::Connected;

use super::{Error, MAX_AGENTS, listen};
use crate::controller::Agents;
use crate::stream::{Shared, Subscriber};

/// What agents see of a control plane, without a source; dropped, it stops.
#[doc(hidden)]
#[derive(Debug)]
pub struct Given {
    shared: Arc<Shared>,
    _tasks: JoinSet<Result<(), Error>>,
}

impl Given {
    /// Serves these connections. Nothing is sent before there was a state.
    pub fn start<I>(grace: Duration, incoming: impl Stream<Item = io::Result<I>> + Send + 'static) -> Self
    where
        I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let shared = Shared::new(Some(Agents::default()), grace, MAX_AGENTS);
        let (_, health) = tonic_health::server::health_reporter();
        let mut tasks = JoinSet::new();
        listen::Services::new(&shared, health).serve(incoming, None, &mut tasks);
        Self { shared, _tasks: tasks }
    }

    /// Makes `resources` the newest state; from one that is not `complete` something is missing (S104).
    pub fn replace(&self, resources: BTreeMap<ResourceKey, Resource>, complete: bool) -> Version {
        self.shared.store.replace(resources, complete);
        self.version()
    }

    /// Makes these resources what they are here, none: gone.
    pub fn apply(&self, changes: BTreeMap<ResourceKey, Option<Resource>>) -> Version {
        self.shared.store.apply(changes, true);
        self.version()
    }

    /// The newest version.
    pub fn version(&self) -> Version {
        let number = self.shared.store.newest().borrow().number;
        self.shared.store.since(Some(number)).version
    }

    /// The agents that are or were connected, by node.
    pub fn subscribers(&self) -> Vec<Subscriber> {
        self.shared.subscribers.list()
    }
}
