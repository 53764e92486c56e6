//! One agent's stream.

use std::sync::Arc;
use std::time::Duration;

use fairway_proto::control::subscribe_request::Body;
use fairway_proto::control::{Hello, SubscribeRequest, Version};
use fairway_proto::model::Node;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, Streaming};

use super::Shared;
use super::admission::{admit, identity};
use super::pace::Pace;
use super::places::Place;
use crate::controller::parse_report;
use crate::stream::cursor::{Cursor, Frame};
use crate::stream::store::Newest;
use crate::tls::Peer;

/// An agent that has not said Hello by then is not one.
const HELLO: Duration = Duration::from_secs(10);
/// A change is sent at once; what comes after it is sent together when so much time has passed for each stream that there
/// is: changes may come as fast as they like, and to send them to all takes about half a CPU. With less, agents that are many
/// wait longer, for a control plane that is busy with each change alone.
const EACH: Duration = Duration::from_micros(100);
/// No change waits longer for others.
const LONGEST: Duration = Duration::from_millis(500);
/// Bytes of a message: the report of 1,000 pods with the longest names there are has 400,000, so this is ten times what
/// a large node needs.
pub(super) const LARGEST: usize = 4 << 20;

/// The responses to an agent. Its requests are read by a task that ends with the stream, also while the agent does not
/// read.
pub(super) fn subscribe(
    shared: Arc<Shared>,
    peer: Option<Peer>,
    requests: Streaming<SubscribeRequest>,
) -> BoxStream<'static, Result<Frame, Status>> {
    let opened = stream::once(admitted(shared, peer, requests));
    opened
        .flat_map(|opened| match opened {
            Ok(subscription) => stream::unfold(Some(subscription), step).boxed(),
            Err(status) => stream::once(async { Err(status) }).boxed(),
        })
        .boxed()
}

async fn step(subscription: Option<Subscription>) -> Option<(Result<Frame, Status>, Option<Subscription>)> {
    let mut subscription = subscription?;
    match subscription.next().await {
        Ok(Some(frame)) => Some((Ok(frame), Some(subscription))),
        Ok(None) => None,
        Err(status) => Some((Err(status), None)),
    }
}

/// Opens the subscription, and tells the log who is not let in.
async fn admitted(
    shared: Arc<Shared>,
    peer: Option<Peer>,
    requests: Streaming<SubscribeRequest>,
) -> Result<Subscription, Status> {
    let opened = open(shared, peer.as_ref(), requests).await;
    opened.inspect_err(|status| {
        let address = peer.as_ref().and_then(|peer| peer.address).map(|address| address.to_string());
        tracing::warn!(peer = address, code = ?status.code(), "refused: {}", status.message());
    })
}

/// Reads Hello.
async fn open(
    shared: Arc<Shared>,
    peer: Option<&Peer>,
    mut requests: Streaming<SubscribeRequest>,
) -> Result<Subscription, Status> {
    let own = identity(peer)?;
    let mut place = shared.places.take()?;
    if let Some(own) = own {
        place.of(own);
    }
    let first = tokio::time::timeout(HELLO, requests.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Hello within 10 seconds"))?
        .map_err(invalid)?;
    let Some(SubscribeRequest { body: Some(Body::Hello(Hello { node, applied })) }) = first else {
        return Err(Status::invalid_argument("the first message must be Hello"));
    };
    let node = node.ok_or_else(|| Status::invalid_argument("hello: node is missing"))?;
    let node = Node::try_from(&node).map_err(|error| Status::invalid_argument(format!("hello: {error}")))?;
    let name = node.name.clone();
    admit(own, &name)?;
    place.of(&name);
    shared.told(|agents| agents.hello(node));
    tracing::info!(node = name, version = applied.map(|version| version.number), "agent connected");
    shared.subscribers.update(&name, |subscriber| {
        subscriber.streams += 1;
        subscriber.applied = applied;
    });
    if applied.is_some() {
        shared.serves(&name);
    }
    let connected = Connected { shared: Arc::clone(&shared), node: name.clone() };
    let (end, ended) = oneshot::channel();
    let reading = tokio::spawn(async move {
        let status = read(&connected, requests).await;
        if let Err(status) = &status
            && matches!(status.code(), Code::InvalidArgument | Code::ResourceExhausted)
        {
            tracing::warn!(node = connected.node, code = ?status.code(), "the stream is ended: {}", status.message());
        }
        // The stream is gone already.
        let _ = end.send(status);
    });
    Ok(Subscription {
        cursor: Cursor::new(applied),
        serves: applied,
        newest: shared.store.newest(),
        rested: Instant::now(),
        node: name,
        ended,
        shared,
        place,
        _reading: AbortOnDropHandle::new(reading),
    })
}

/// Bytes that are no message of the contract are the client's fault, whatever tonic calls them.
fn invalid(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted(
            "a message is larger than 4 MiB, which the reports of 1,000 pods are not: does the agent list pods that are \
             gone?",
        ),
        Code::Internal | Code::Unimplemented => Status::invalid_argument(status.message()),
        _ => status,
    }
}

/// Counts the stream as long as it is there.
struct Connected {
    shared: Arc<Shared>,
    node: String,
}

impl Drop for Connected {
    fn drop(&mut self) {
        tracing::info!(node = self.node, "agent disconnected: its pods and its node stay as they were");
        self.shared.subscribers.update(&self.node, |subscriber| subscriber.streams -= 1);
    }
}

/// Reads requests until the agent ends the stream (`Ok`) or breaks the contract.
async fn read(connected: &Connected, mut requests: Streaming<SubscribeRequest>) -> Result<(), Status> {
    let mut pace = Pace::new(Instant::now());
    while let Some(request) = requests.message().await.map_err(invalid)? {
        take(connected, request)?;
        // Who is faster than that is not read meanwhile: HTTP/2 holds it up.
        let wait = pace.take(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
    Ok(())
}

fn take(connected: &Connected, request: SubscribeRequest) -> Result<(), Status> {
    let Connected { shared, node } = connected;
    match request.body {
        // A newer agent may say things that this control plane does not know yet.
        None => {}
        Some(Body::Hello(_)) => return Err(Status::invalid_argument("hello: only as the first message")),
        Some(Body::Applied(applied)) => {
            tracing::debug!(node, version = applied.version.map(|version| version.number), "applied");
            shared.serves(node);
            shared.subscribers.update(node, |subscriber| {
                subscriber.applied = applied.version;
                subscriber.rejected = None;
            });
        }
        Some(Body::Rejected(rejected)) => {
            let version = rejected.version.unwrap_or_default();
            tracing::warn!(
                node,
                version = version.number,
                reason = rejected.reason,
                "the agent rejects a version"
            );
            shared.subscribers.update(node, |subscriber| {
                subscriber.rejected = Some((version, rejected.reason));
            });
        }
        Some(Body::Report(report)) => {
            let pods =
                parse_report(report).map_err(|error| Status::invalid_argument(format!("report: {error}")))?;
            shared.told(|agents| agents.report(node, pods));
        }
    }
    Ok(())
}

/// An agent that has said Hello.
struct Subscription {
    shared: Arc<Shared>,
    node: String,
    cursor: Cursor,
    /// What the agent serves until it was sent something.
    serves: Option<Version>,
    newest: watch::Receiver<Newest>,
    /// Until then nothing more is sent.
    rested: Instant,
    ended: oneshot::Receiver<Result<(), Status>>,
    place: Place,
    _reading: AbortOnDropHandle<()>,
}

impl Subscription {
    /// The next response; `None`: the agent ended the stream.
    async fn next(&mut self) -> Result<Option<Frame>, Status> {
        loop {
            let resting = Instant::now() < self.rested;
            if !resting && let Some(frame) = self.answer() {
                return Ok(Some(frame));
            }
            let settling = !resting && self.is_foreign() && Instant::now() < self.shared.settled;
            tokio::select! {
                ended = &mut self.ended => return ended.unwrap_or(Ok(())).map(|()| None),
                () = self.shared.stop.cancelled() => {
                    return Err(Status::unavailable("the control plane stops: connect again later"));
                }
                replaced = self.place.replaced() => return Err(replaced),
                // The sender is in the store, which this subscription keeps.
                _ = self.newest.changed(), if !resting => {}
                () = tokio::time::sleep_until(self.rested), if resting => {}
                () = tokio::time::sleep_until(self.shared.settled), if settling => {}
            }
        }
    }

    /// What is to be sent now.
    fn answer(&mut self) -> Option<Frame> {
        let newest = *self.newest.borrow_and_update();
        if !self.may_answer(newest) {
            return None;
        }
        let frame = self.cursor.next(&self.shared.store)?;
        self.serves = None;
        if frame.complete {
            let streams = u32::try_from(self.shared.store.followers()).unwrap_or(u32::MAX);
            self.rested = Instant::now() + EACH.saturating_mul(streams).min(LONGEST);
        }
        self.note(&frame);
        Some(frame)
    }

    /// The agent serves a state that this control plane never had: it must not be given less than all. If it serves one
    /// that was had here, of this or of another control plane, nothing but real changes is between that and the newest.
    fn is_foreign(&self) -> bool {
        self.serves.is_some_and(|serves| self.shared.store.number(serves).is_none())
    }

    /// Nothing is sent before all manifests were read (S104); and nothing that lacks a file which never was good to
    /// an agent that may still serve that file's objects.
    fn may_answer(&self, newest: Newest) -> bool {
        if !newest.loaded || !self.is_foreign() {
            return newest.loaded;
        }
        if !newest.complete {
            tracing::warn!(
                node = self.node,
                "the agent keeps the state that it has until each file of the manifests was good once"
            );
        }
        newest.complete && Instant::now() >= self.shared.settled
    }

    fn note(&self, frame: &Frame) {
        if frame.complete {
            let Version { number, .. } = frame.version;
            tracing::debug!(node = self.node, version = number, snapshot = frame.snapshot, "sent");
            self.shared.subscribers.update(&self.node, |subscriber| subscriber.sent = Some(frame.version));
        }
    }
}
