//! Decisions of the data path as they happen: one reader of the kernel's ring, many callers with filters.

mod convert;
mod filter;
mod hub;

use std::sync::{Arc, Mutex};

use fairway_datapath::Datapath;
use fairway_proto::node::{TraceEvent, TraceRequest};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::directory::Directory;
use crate::node::Shared;
use crate::sync::SyncState;
use convert::Clock;
use filter::Filter;
pub(super) use hub::Hub;
use hub::{Seen, Subscription};

/// Events on their way to one caller.
const QUEUE: usize = 1_024;

/// Opens a caller's stream. Tracing is on when this returns, and off again when the last stream is dropped.
pub(super) async fn subscribe(
    shared: &Arc<Shared>,
    hub: &Arc<Hub<Mutex<Datapath>>>,
    request: &TraceRequest,
) -> Result<BoxStream<'static, Result<TraceEvent, Status>>, Status> {
    let filter = Filter::parse(request).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let names = Names::new(shared.clone());
    filter.check(&names.directory).map_err(|error| Status::not_found(error.to_string()))?;
    let subscription = hub.clone().subscribe().await.map_err(|error| super::internal(&error))?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(forward(subscription, filter, names, sender));
    Ok(ReceiverStream::new(receiver).map(Ok).boxed())
}

/// The latest names: made anew when the cluster's state or this node's pods change.
struct Names {
    shared: Arc<Shared>,
    state: watch::Receiver<Arc<SyncState>>,
    pods: watch::Receiver<Vec<fairway_proto::control::PodStatus>>,
    directory: Directory,
    clock: Clock,
}

impl Names {
    fn new(shared: Arc<Shared>) -> Self {
        let (state, pods) = (shared.state.subscribe(), shared.pods.subscribe());
        let mut names = Self { shared, state, pods, directory: Directory::default(), clock: Clock::now() };
        names.read();
        names
    }

    fn read(&mut self) {
        self.pods.mark_unchanged();
        let state = self.state.borrow_and_update().clone();
        self.directory = Directory::new(&state, &self.shared.pods.list());
        self.clock = Clock::now();
    }

    fn refresh(&mut self) {
        if self.state.has_changed().unwrap_or(false) || self.pods.has_changed().unwrap_or(false) {
            self.read();
        }
    }
}

/// Carries what one caller wants until it goes away.
async fn forward(
    mut subscription: Subscription,
    filter: Filter,
    mut names: Names,
    sender: mpsc::Sender<TraceEvent>,
) {
    let mut lost = 0;
    loop {
        let seen = tokio::select! {
            seen = subscription.events.recv() => seen,
            () = sender.closed() => return,
        };
        let Seen { event, ring_lost } = match seen {
            Ok(seen) => seen,
            Err(broadcast::error::RecvError::Lagged(count)) => {
                lost += count;
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        lost += subscription.ring_lost_since(ring_lost);
        names.refresh();
        if !filter.matches(&event, &names.directory) {
            continue;
        }
        names.directory.learn_device(event.ifindex);
        let message = convert::message(&event, &names.directory, names.clock, std::mem::take(&mut lost));
        if sender.send(message).await.is_err() {
            return;
        }
    }
}
