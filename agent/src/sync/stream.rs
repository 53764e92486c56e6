//! The stream to the control plane: opened again whenever it ends, at the next address where there are several.

use std::pin::pin;
use std::time::Duration;

use fairway_proto::control::control_client::ControlClient;
use fairway_proto::control::{
    Hello, Node, PodStatus, Report, SubscribeRequest, SubscribeResponse, Version, subscribe_request::Body,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::engine::chain;
use super::source::{Error, Source};
use super::tls::explained;
use super::turns::Turns;
use crate::resolve::LocalNode;

/// The largest response that is read.
const LARGEST: usize = 64 << 20;
/// A control plane that lives and sends nothing of a first state for so long is left, if there are others.
const FIRST_STATE: Duration = Duration::from_secs(10);

/// How long what came is read where nothing can be sent any more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What happens on the stream.
#[derive(Debug)]
pub(super) enum Event {
    /// It is about to be opened.
    Opening {
        /// Takes the version of the state that is there now: what comes on the stream changes that one.
        base: oneshot::Sender<Option<Version>>,
    },
    /// It is open.
    Connected {
        /// Which of the source's places it leads to.
        place: usize,
    },
    /// Something came.
    Response(Box<SubscribeResponse>),
    /// It is not open.
    Disconnected {
        /// Which of the source's places was tried.
        place: usize,
        /// Why.
        reason: String,
    },
}

/// The agent's end of the stream.
pub(super) struct Client {
    pub(super) source: Source,
    /// What Hello says of the node; a change opens a new stream.
    pub(super) node: watch::Receiver<Node>,
    /// The answer to the last complete version.
    pub(super) answer: watch::Receiver<Option<Body>>,
    pub(super) reports: watch::Receiver<Vec<PodStatus>>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Client {
    /// Keeps a stream open until the receiver of events is gone.
    pub(super) async fn run(mut self) {
        let mut turns = Turns::new(self.source.names().len(), &self.node.borrow().name);
        let events = self.events.clone();
        loop {
            let place = turns.place();
            let mut complete = false;
            let result = tokio::select! {
                result = self.stream(place, &mut complete) => result,
                () = events.closed() => return,
            };
            if complete {
                turns.served();
            }
            let Err(error) = result else {
                continue;
            };
            let reason = explained(chain(&error), self.source.tls());
            if events.send(Event::Disconnected { place, reason }).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(turns.failed()) => {}
                () = events.closed() => return,
            }
        }
    }

    /// One stream; Ok if it ended because Hello has changed.
    async fn stream(&mut self, place: usize, complete: &mut bool) -> Result<(), Error> {
        let channel = self.source.connect(place).await?;
        let applied = self.base().await?;
        let node = self.node.borrow_and_update().clone();
        self.answer.mark_unchanged();
        let (requests, outgoing) = mpsc::channel(4);
        let forwarding =
            forward(Hello { node: Some(node), applied }, self.answer.clone(), self.reports.clone(), requests);
        let mut client = ControlClient::new(channel).max_decoding_message_size(LARGEST);
        let patience = self.source.has_others().then_some(FIRST_STATE);
        let receiving = async {
            let opening = client.subscribe(ReceiverStream::new(outgoing));
            let mut responses = within(patience, opening).await?.into_inner();
            let _ = self.events.send(Event::Connected { place }).await;
            while let Some(response) = within(patience.filter(|_| !*complete), responses.message()).await? {
                *complete |= response.complete;
                let _ = self.events.send(Event::Response(Box::new(response))).await;
            }
            Err(Error::Ended)
        };
        let mut receiving = pin!(receiving);
        tokio::select! {
            result = &mut receiving => result,
            // What came before the stream was cut is still to be taken.
            () = forwarding => timeout(LAST_WORDS, receiving).await.unwrap_or(Err(Error::Ended)),
            Ok(()) = self.node.changed() => Ok(()),
        }
    }

    /// The version that what comes on a new stream changes. What came on the one before has been taken in by then: a
    /// change that another control plane sends must not meet a state that it does not know of.
    async fn base(&self) -> Result<Option<Version>, Error> {
        let (base, version) = oneshot::channel();
        let _ = self.events.send(Event::Opening { base }).await;
        // Nobody answers only when nobody receives events any more, and then this task ends.
        version.await.map_err(|_| Error::Ended)
    }
}

/// Waits for what is read, for as long as that may take; none: without an end.
async fn within<T>(
    patience: Option<Duration>,
    reading: impl Future<Output = Result<T, Status>>,
) -> Result<T, Error> {
    let Some(patience) = patience else { return Ok(reading.await?) };
    Ok(timeout(patience, reading).await.map_err(|_| Error::Silent(patience))??)
}

/// What the control plane is told of this node.
pub(super) fn about(base: &Node, node: &LocalNode) -> Node {
    Node {
        addresses: node.addresses.iter().map(ToString::to_string).collect(),
        zone: node.zone.clone().unwrap_or_default(),
        ..base.clone()
    }
}

/// Sends Hello, then the latest report and the latest answer whenever they change.
async fn forward(
    hello: Hello,
    mut answer: watch::Receiver<Option<Body>>,
    mut reports: watch::Receiver<Vec<PodStatus>>,
    requests: mpsc::Sender<SubscribeRequest>,
) {
    reports.mark_changed();
    let mut body = Some(Body::Hello(hello));
    loop {
        if let Some(body) = body.take()
            && requests.send(SubscribeRequest { body: Some(body) }).await.is_err()
        {
            return;
        }
        tokio::select! {
            Ok(()) = answer.changed() => body = answer.borrow_and_update().clone(),
            Ok(()) = reports.changed() => {
                body = Some(Body::Report(Report { pods: reports.borrow_and_update().clone() }));
            }
            else => std::future::pending().await,
        }
    }
}
