//! The objects of one kind, as the API server lists and watches them.

use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fairway_proto::model::{self, ObjectName};
use futures::{Stream, StreamExt};
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::Status;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::Connection;
use super::cluster::News;
use super::connection::words;
use crate::source::declaration::{Declared, Service, Slice};
use crate::source::problem::Problem;
use crate::source::reader::Reader;
use crate::source::{endpoint_slice, node, service};

/// The server ends a watch after so many seconds; the next one goes on where it ended.
const WATCH: u32 = 60;
/// A server that has failed and then did not for so long is well.
const WELL: Duration = Duration::from_secs(6);

/// What tells the kinds of objects apart.
pub(super) trait Kind: Send + Sync + Sized + 'static {
    type Key: Ord + Clone + Display + Send + Sync;
    type Value: PartialEq + Send + Sync;
    type Object: kube::Resource<DynamicType = ()> + DeserializeOwned + Send;
    /// As it stands in objects.
    const NAME: &'static str;

    fn key(metadata: &ObjectMeta) -> Self::Key;
    fn read(reader: &mut Reader<'_>, object: Self::Object) -> Self::Value;
    fn news(heard: Heard<Self>) -> News;
}

/// An object that was sent.
pub(super) struct Parsed<K: Kind> {
    pub(super) key: K::Key,
    /// None: it cannot be used.
    pub(super) value: Option<Arc<Declared<K::Value>>>,
    pub(super) problems: Vec<Problem>,
}

/// What the API server says of one kind.
pub(super) enum Heard<K: Kind> {
    /// All objects follow as `Listed`.
    Begin,
    Listed(Parsed<K>),
    /// All were listed; others do not exist.
    Complete,
    Changed(Parsed<K>),
    Gone(K::Key),
    /// It cannot be read.
    Failed(String),
    /// It can be read again.
    Well,
}

pub(super) struct Services;
pub(super) struct Slices;
pub(super) struct Nodes;

impl Kind for Services {
    type Key = ObjectName;
    type Value = Service;
    type Object = core::Service;
    const NAME: &'static str = "Service";

    fn key(metadata: &ObjectMeta) -> ObjectName {
        name(metadata)
    }

    /// The cluster has a controller that makes slices, and the server has left out what another proxy serves.
    fn read(reader: &mut Reader<'_>, object: core::Service) -> Service {
        let service = service::read(reader, object);
        Service { selector: Default::default(), hidden: false, ..service }
    }

    fn news(heard: Heard<Self>) -> News {
        News::Service(heard)
    }
}

impl Kind for Slices {
    type Key = ObjectName;
    type Value = Slice;
    type Object = discovery::EndpointSlice;
    const NAME: &'static str = "EndpointSlice";

    fn key(metadata: &ObjectMeta) -> ObjectName {
        name(metadata)
    }

    fn read(reader: &mut Reader<'_>, object: discovery::EndpointSlice) -> Slice {
        endpoint_slice::read(reader, object)
    }

    fn news(heard: Heard<Self>) -> News {
        News::Slice(heard)
    }
}

impl Kind for Nodes {
    type Key = String;
    type Value = model::Node;
    type Object = core::Node;
    const NAME: &'static str = "Node";

    fn key(metadata: &ObjectMeta) -> String {
        metadata.name.clone().unwrap_or_default()
    }

    fn read(reader: &mut Reader<'_>, object: core::Node) -> model::Node {
        node::read(reader, object)
    }

    fn news(heard: Heard<Self>) -> News {
        News::Node(heard)
    }
}

fn name(metadata: &ObjectMeta) -> ObjectName {
    let [namespace, name] =
        [&metadata.namespace, &metadata.name].map(|text| text.clone().unwrap_or_default());
    ObjectName::new(namespace, name)
}

/// Tells all news of a kind, until nobody listens; at a change of `again` all are listed anew.
pub(super) async fn follow<K: Kind>(
    connection: Connection,
    selector: Arc<str>,
    mut again: watch::Receiver<()>,
    news: mpsc::Sender<News>,
) {
    let kind = ApiResource::erase::<K::Object>(&());
    let api: Api<DynamicObject> = Api::all_with(connection.client, &kind);
    let (server, backoff) = (connection.server, DefaultBackoff::default());
    let mut listener = Listener { news, server, backoff, streamed: true };
    loop {
        let events = watcher(api.clone(), config(listener.streamed, &selector));
        if !listener.listen::<K>(events, &mut again).await {
            return;
        }
    }
}

/// Tells the news of a kind. Its answers say whether somebody still hears it.
struct Listener {
    news: mpsc::Sender<News>,
    server: Arc<str>,
    backoff: DefaultBackoff,
    /// The server is asked for lists as streams.
    streamed: bool,
}

impl Listener {
    /// Tells what happens, until all have to be listed anew.
    async fn listen<K: Kind>(
        &mut self,
        events: impl Stream<Item = watcher::Result<Event<DynamicObject>>>,
        again: &mut watch::Receiver<()>,
    ) -> bool {
        let mut events = pin!(events);
        let mut failing = false;
        again.mark_unchanged();
        loop {
            let event = tokio::select! {
                Some(event) = events.next() => event,
                Ok(()) = again.changed() => return true,
                () = tokio::time::sleep(WELL), if failing => {
                    failing = false;
                    if self.tell(Heard::<K>::Well).await {
                        continue;
                    }
                    return false;
                }
                () = self.news.closed() => return false,
            };
            let heard = match event {
                Err(error) if self.streamed && streams_no_lists(&error) => {
                    tracing::debug!(
                        kind = K::NAME,
                        "the API server streams no lists: they come page by page"
                    );
                    self.streamed = false;
                    return true;
                }
                Err(error) => {
                    failing = true;
                    let heard = self.fail::<K>(&error).await;
                    if is_lost(&error) {
                        return heard;
                    }
                    heard
                }
                Ok(event) => {
                    // A list begins before the server is asked.
                    if !matches!(event, Event::Init) {
                        failing = false;
                        self.backoff.reset();
                    }
                    let heard = heard::<K>(event, &self.server);
                    self.tell(heard).await
                }
            };
            if !heard {
                return false;
            }
        }
    }

    /// Says what went wrong, and waits before the next attempt; whether somebody hears it.
    async fn fail<K: Kind>(&mut self, error: &watcher::Error) -> bool {
        let asked = status(error).and_then(|status| status.details.as_ref());
        let asked = Duration::from_secs(asked.map_or(0, |details| details.retry_after_seconds.into()));
        let wait = self.backoff.next().unwrap_or(WELL).max(asked);
        self.tell(Heard::<K>::Failed(reason(error))).await
            && tokio::select! {
                () = tokio::time::sleep(wait) => true,
                () = self.news.closed() => false,
            }
    }

    /// Whether somebody hears it.
    async fn tell<K: Kind>(&self, heard: Heard<K>) -> bool {
        self.news.send(K::news(heard)).await.is_ok()
    }
}

fn config(streamed: bool, selector: &str) -> watcher::Config {
    let config = watcher::Config::default().timeout(WATCH);
    let config = if streamed { config.streaming_lists() } else { config };
    if selector.is_empty() { config } else { config.labels(selector) }
}

fn heard<K: Kind>(event: Event<DynamicObject>, server: &Arc<str>) -> Heard<K> {
    match event {
        Event::Init => Heard::Begin,
        Event::InitApply(object) => Heard::Listed(parse(object, server)),
        Event::InitDone => Heard::Complete,
        Event::Apply(object) => Heard::Changed(parse(object, server)),
        Event::Delete(object) => Heard::Gone(K::key(&object.metadata)),
    }
}

/// One object that does not fit keeps no other from being served.
pub(super) fn parse<K: Kind>(object: DynamicObject, server: &Arc<str>) -> Parsed<K> {
    let key = K::key(&object.metadata);
    let mut reader = Reader::of_cluster(server, K::NAME, &key);
    let value = reader.fit(json(object)).map(|object| K::read(&mut reader, object));
    let value = value.map(|value| reader.declared(value));
    let problems = reader.problems;
    let refused = problems.iter().any(|problem| problem.cause.breaks_file());
    Parsed { key, value: value.filter(|_| !refused), problems }
}

fn json(object: DynamicObject) -> serde_json::Value {
    // Who wrote which field is most of an object, and nobody here asks for it.
    let metadata = ObjectMeta { managed_fields: None, ..object.metadata };
    let mut value = object.data;
    if let (Some(fields), Ok(metadata)) = (value.as_object_mut(), serde_json::to_value(metadata)) {
        fields.insert("metadata".to_owned(), metadata);
    }
    value
}

fn status(error: &watcher::Error) -> Option<&Status> {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        WatchError(status) => Some(status),
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status)) => Some(status),
        InitialListFailed(_) | WatchStartFailed(_) | WatchFailed(_) | NoResourceVersion => None,
    }
}

/// A server from before Kubernetes 1.32, or one where the feature WatchList is off, does not know the parameters.
fn streams_no_lists(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(_))
        && status(error).is_some_and(|status| matches!(status.code, 400 | 405 | 406 | 422))
}

/// The server does not know the version any more, or not yet, as after it was restored from a backup: only a new list
/// helps.
fn is_lost(error: &watcher::Error) -> bool {
    let Some(status) = status(error) else { return false };
    let too_large = || {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "ResourceVersionTooLarge")
            || status.message.to_lowercase().contains("too large resource version")
    };
    matches!(error, watcher::Error::WatchStartFailed(_)) && (status.code == 410 || too_large())
}

/// What went wrong, in one line.
fn reason(error: &watcher::Error) -> String {
    match (status(error), std::error::Error::source(error)) {
        (Some(status), _) => format!("{} ({})", status.message, status.code),
        // What was being done is known.
        (None, Some(cause)) => words(cause),
        (None, None) => words(error),
    }
}
