//! `fairway.control.v1.Control`.

mod admission;
mod http;
mod pace;
mod places;
mod subscription;

pub(crate) use http::ControlService;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::places::Places;
use super::Store;
use super::subscribers::Subscribers;
use crate::controller::Agents;

/// What all streams share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    agents: Mutex<Agents>,
    /// What agents tell of their nodes and pods counts.
    heeds_agents: bool,
    /// Counts what the agents told that was new.
    pub(crate) agents_changed: watch::Sender<u64>,
    pub(crate) subscribers: Subscribers,
    /// Nodes whose agents serve a state.
    pub(crate) serving: watch::Sender<BTreeSet<String>>,
    /// Bounds the streams.
    places: Arc<Places>,
    /// Ends all streams.
    pub(crate) stop: CancellationToken,
    /// Until then the first answer waits, for agents that serve a state of an earlier epoch: others may not have
    /// reported their pods again yet.
    pub(crate) settled: Instant,
}

impl Shared {
    /// Nothing yet but what the agents told before; none: what they tell counts for nothing, and is not waited for.
    pub(crate) fn new(agents: Option<Agents>, grace: Duration, max_agents: usize) -> Arc<Self> {
        let heeds_agents = agents.is_some();
        let grace = if heeds_agents { grace } else { Duration::ZERO };
        Arc::new(Self {
            store: Store::new(),
            agents: Mutex::new(agents.unwrap_or_default()),
            heeds_agents,
            agents_changed: watch::Sender::new(0),
            subscribers: Subscribers::default(),
            serving: watch::Sender::default(),
            places: Places::new(max_agents),
            stop: CancellationToken::new(),
            settled: Instant::now() + grace,
        })
    }

    /// The agent of that node serves a state.
    pub(crate) fn serves(&self, node: &str) {
        self.serving.send_if_modified(|nodes| !nodes.contains(node) && nodes.insert(node.to_owned()));
    }

    /// An agent tells something; `note` says whether it is new.
    fn told(&self, note: impl FnOnce(&mut Agents) -> bool) {
        if self.heeds_agents && note(&mut self.agents()) {
            self.agents_changed.send_modify(|count| *count += 1);
        }
    }

    /// What the agents told.
    pub(crate) fn agents(&self) -> MutexGuard<'_, Agents> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
