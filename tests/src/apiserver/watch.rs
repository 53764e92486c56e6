//! Watches: what has changed since a version, as lines of JSON.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use super::answer::Refusal;
use super::handler::{Peer, Query};
use super::kind::{Kind, Target};
use super::list::{Scope, version};
use super::store::{Change, of_kind};
use super::{Gone, Order, Shared, lock};

/// A timeout that no watch reaches.
const EVER: Duration = Duration::from_secs(1_800);
/// The version of a watch that ends with what it says first.
const NEVER: u64 = u64::MAX;
/// As long as what was sent last needs to get out before its connection is cut.
const FLUSHED: Duration = Duration::from_millis(20);

type Lines = mpsc::Sender<Result<Bytes, io::Error>>;

/// A watch that has begun.
struct Watch {
    shared: Arc<Shared>,
    peer: Peer,
    scope: Scope,
    /// What the client has.
    revision: u64,
    /// Sent before anything else.
    first: Vec<Value>,
    bookmarks: bool,
    end: Instant,
    lines: Lines,
    orders: broadcast::Receiver<Order>,
}

/// The answer to a watch.
pub(super) fn answer(
    shared: &Arc<Shared>,
    peer: Peer,
    target: &Target,
    query: &Query,
) -> Result<Response, Refusal> {
    let scope = Scope::new(target, query)?;
    let is = |key: &str| query.get(key).is_some_and(|value| matches!(value.as_str(), "true" | "1"));
    let initial = is("sendInitialEvents");
    if initial {
        streaming(shared, query, is("allowWatchBookmarks"))?;
    } else if query.get("resourceVersionMatch").is_some_and(|text| !text.is_empty()) {
        return Err(invalid(
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    let seconds = query.get("timeoutSeconds").map(|text| text.parse::<u64>());
    let seconds = seconds.transpose().map_err(|_| Refusal::bad_request("timeoutSeconds is not a number"))?;
    let (lines, body) = mpsc::channel(16);
    // Before the state is read: nothing that is ordered after it gets lost.
    let orders = shared.orders.subscribe();
    let (revision, first) = beginning(shared, &scope, version(query)?, initial)?;
    let watch = Watch {
        shared: Arc::clone(shared),
        peer,
        scope,
        revision,
        first,
        bookmarks: is("allowWatchBookmarks"),
        end: Instant::now() + seconds.filter(|seconds| *seconds > 0).map_or(EVER, Duration::from_secs),
        lines,
        orders,
    };
    tokio::spawn(watch.run());
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(body)));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn invalid(detail: &str) -> Refusal {
    Refusal::invalid(format!("ListOptions.meta.k8s.io \"\" is invalid: {detail}"))
}

/// Whether a watch may ask for the initial state in this way.
fn streaming(shared: &Shared, query: &Query, bookmarks: bool) -> Result<(), Refusal> {
    if !shared.options.streaming_lists {
        return Err(invalid(
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate \
             is enabled",
        ));
    }
    if query.get("resourceVersionMatch").is_none_or(|text| text != "NotOlderThan") {
        return Err(invalid(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    if !bookmarks {
        return Err(invalid("allowWatchBookmarks: Forbidden: sendInitialEvents requires bookmarks"));
    }
    Ok(())
}

/// Where a watch begins, and what it says first.
fn beginning(
    shared: &Shared,
    scope: &Scope,
    asked: Option<u64>,
    initial: bool,
) -> Result<(u64, Vec<Value>), Refusal> {
    let store = lock(&shared.store);
    let current = store.revision();
    let all = || {
        let objects = of_kind(store.state(), scope.kind);
        let covered = objects.filter(|((_, namespace, _), object)| scope.covers(namespace, object));
        covered.map(|(_, object)| json!({ "type": "ADDED", "object": **object })).collect::<Vec<_>>()
    };
    match asked {
        Some(version) if initial && version > current => Err(Refusal::too_large(version, current)),
        _ if initial => {
            let mut events = all();
            events.push(bookmark(scope.kind, current, true));
            Ok((current, events))
        }
        None => Ok((current, all())),
        Some(version) if version < store.compacted() => {
            let gone =
                Refusal::expired(format!("too old resource version: {version} ({})", store.compacted()));
            match shared.options.gone {
                Gone::Http => Err(gone),
                Gone::Event => Ok((NEVER, vec![json!({ "type": "ERROR", "object": gone.status() })])),
            }
        }
        // A version that is yet to come is waited for, in silence.
        Some(version) => Ok((version, Vec::new())),
    }
}

/// A BOOKMARK event, with the fields that the kind's empty object has.
fn bookmark(kind: Kind, revision: u64, initial_end: bool) -> Value {
    let mut object = json!({
        "kind": kind.name(),
        "apiVersion": kind.api_version(),
        "metadata": { "resourceVersion": revision.to_string(), "creationTimestamp": null },
    });
    if initial_end {
        object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    let rest = match kind {
        Kind::EndpointSlice => json!({ "endpoints": null, "ports": null, "addressType": "" }),
        Kind::Service => json!({ "spec": {}, "status": { "loadBalancer": {} } }),
        Kind::Pod => json!({ "spec": { "containers": null }, "status": {} }),
        Kind::Node | Kind::Event => json!({ "spec": {}, "status": {} }),
    };
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    json!({ "type": "BOOKMARK", "object": object })
}

/// What a change is to someone who sees only a part of the objects.
fn event(scope: &Scope, change: &Change) -> Option<Value> {
    let (kind, namespace, _) = &change.key;
    let seen = |object: &Option<Arc<Value>>| {
        let object = object.as_ref()?;
        (*kind == scope.kind && scope.covers(namespace, object)).then(|| Value::clone(object))
    };
    let (verb, mut object) = match (seen(&change.before), seen(&change.after)) {
        (None, Some(after)) => ("ADDED", after),
        (Some(_), Some(after)) => ("MODIFIED", after),
        (Some(before), None) => ("DELETED", before),
        (None, None) => return None,
    };
    object["metadata"]["resourceVersion"] = json!(change.revision.to_string());
    Some(json!({ "type": verb, "object": object }))
}

impl Watch {
    async fn run(mut self) {
        self.shared.log.watch_begins(self.scope.kind);
        self.follow().await;
        self.shared.log.watch_ends(self.scope.kind);
    }

    /// Ends when the client goes, the time is up, or the connection is cut.
    async fn follow(&mut self) -> Option<()> {
        let mut changed = self.shared.changed.subscribe();
        let mut bookmarks = self.shared.options.bookmarks.filter(|_| self.bookmarks).map(|every| {
            let mut interval = interval_at(Instant::now() + every, every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        for event in std::mem::take(&mut self.first) {
            self.send(&event).await?;
        }
        if self.revision == NEVER {
            return None;
        }
        loop {
            changed.mark_unchanged();
            self.send_changes().await?;
            let order = tokio::select! {
                _ = changed.changed() => continue,
                order = self.orders.recv() => order.ok()?,
                () = tick(&mut bookmarks) => Order::Bookmark,
                () = sleep_until(self.end) => return None,
                () = self.lines.closed() => return None,
            };
            match order {
                Order::Bookmark => self.send_bookmark().await?,
                Order::Cut { inside } => return self.cut(inside).await,
            }
        }
    }

    async fn send_changes(&mut self) -> Option<()> {
        let changes = lock(&self.shared.store).since(self.revision);
        for change in changes {
            self.revision = change.revision;
            if let Some(event) = event(&self.scope, &change) {
                self.send(&event).await?;
            }
        }
        Some(())
    }

    async fn send_bookmark(&mut self) -> Option<()> {
        self.send_changes().await?;
        // Not to those that are ahead of the server.
        let current = lock(&self.shared.store).revision();
        if self.bookmarks && self.revision <= current {
            self.revision = current;
            self.send(&bookmark(self.scope.kind, current, false)).await?;
        }
        Some(())
    }

    async fn send(&self, event: &Value) -> Option<()> {
        tokio::select! {
            () = self.shared.faults.released(Some(self.scope.kind)) => {}
            () = self.lines.closed() => return None,
        }
        if self.peer.is_gone(&self.shared) {
            return None;
        }
        let line = Bytes::from(format!("{event}\n"));
        self.lines.send(Ok(line)).await.ok()
    }

    /// A body that fails takes its connection with it, before the end that HTTP marks.
    async fn cut(&self, inside: bool) -> Option<()> {
        if inside {
            let part = r#"{"type":"MODIFIED","object":{"kind":"#;
            self.lines.send(Ok(Bytes::from_static(part.as_bytes()))).await.ok()?;
        }
        sleep(FLUSHED).await;
        let cut = io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the trial");
        self.lines.send(Err(cut)).await.ok()?;
        None
    }
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
