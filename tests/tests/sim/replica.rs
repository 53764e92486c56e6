//! A control plane: the real server, whose state the test gives.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fairway_control::Given;
use fairway_proto::control::Version;
use rand::Rng;

use crate::net;
use crate::source::Shared;

/// One of several control planes.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) name: String,
    /// How long after a start agents that serve an unknown state wait.
    grace: Duration,
    /// The server, while the process lives.
    server: Arc<Mutex<Option<Given>>>,
    /// The state that it has; none: it has read nothing yet.
    at: Option<usize>,
}

impl Replica {
    pub(crate) fn new(number: usize, grace: Duration) -> Self {
        Self { name: format!("control-{number}"), grace, server: Arc::default(), at: None }
    }

    /// The process: it listens, until it is killed.
    pub(crate) async fn serve(self) -> turmoil::Result {
        let given = Given::start(self.grace, net::listen().await?);
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(given);
        std::future::pending().await
    }

    /// The process was killed.
    pub(crate) fn killed(&mut self) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.at = None;
    }

    /// The state that it has.
    pub(crate) fn at(&self) -> Option<usize> {
        self.at
    }

    /// Gives it a state.
    pub(crate) fn give(&mut self, source: &Shared, number: usize, random: &mut impl Rng) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(server), mut source) = (server.as_ref(), source.lock()) else { return };
        let version = match self.at {
            Some(at) if source.is_complete(number) && random.random_bool(0.7) => {
                server.apply(source.changes(at, number))
            }
            _ => server.replace(source.resources(number).clone(), source.is_complete(number)),
        };
        source.note(version.epoch, number);
        self.at = Some(number);
    }

    /// Its newest version, and what it believes that an agent serves.
    pub(crate) fn believes(&self, agent: &str) -> Option<(Version, Option<Version>)> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let server = server.as_ref()?;
        let subscriber = server.subscribers().into_iter().find(|it| it.node == agent && it.streams > 0)?;
        Some((server.version(), subscriber.applied))
    }
}
