//! What the cluster's API server is told: which nodes' data path is ready, and which objects are refused.
//!
//! Nothing else is written. Each replica may tell the same: a condition that stands already is left alone, and an event
//! has a name that follows from what it says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ObjectReference};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Error;
use crate::source::Problem;
use crate::stream::Shared;

/// Who says it.
const CONTROLLER: &str = "fairway.dev/control";
/// A server that has failed is asked again after so long.
const RETRY: Duration = Duration::from_secs(10);
/// The most events that are told between two looks at the problems: whoever has more has read the first ones.
const EVENTS: usize = 100;

/// Tells the API server, until the server stops.
pub(super) async fn report(
    client: Client,
    shared: Arc<Shared>,
    mut problems: tokio::sync::watch::Receiver<Vec<Problem>>,
) -> Result<(), Error> {
    let mut serving = shared.serving.subscribe();
    let mut done = Told::default();
    problems.mark_changed();
    serving.mark_changed();
    loop {
        let nodes: Vec<_> = serving.borrow_and_update().difference(&done.nodes).cloned().collect();
        let found: Vec<_> = problems.borrow_and_update().clone();
        let told = tokio::select! {
            told = done.tell(&client, nodes, &found) => told,
            () = shared.stop.cancelled() => return Ok(()),
        };
        let again = match told {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the API server is not told");
                Some(tokio::time::Instant::now() + RETRY)
            }
        };
        tokio::select! {
            Ok(()) = serving.changed(), if again.is_none() => {}
            Ok(()) = problems.changed(), if again.is_none() => {}
            () = tokio::time::sleep_until(again.unwrap_or_else(tokio::time::Instant::now)), if again.is_some() => {}
            () = shared.stop.cancelled() => return Ok(()),
        }
    }
}

/// What was told already.
#[derive(Default)]
struct Told {
    nodes: BTreeSet<String>,
    problems: BTreeSet<Problem>,
}

impl Told {
    async fn tell(
        &mut self,
        client: &Client,
        nodes: Vec<String>,
        found: &[Problem],
    ) -> Result<(), kube::Error> {
        let mut result = Ok(());
        for node in nodes {
            if understood(network_is_available(client, &node).await, &mut result)? {
                self.nodes.insert(node);
            }
        }
        self.problems.retain(|problem| found.contains(problem));
        let new: Vec<_> =
            found.iter().filter(|problem| !self.problems.contains(*problem)).take(EVENTS).collect();
        for problem in new {
            if understood(refused(client, problem).await, &mut result)? {
                self.problems.insert(problem.clone());
            }
        }
        result
    }
}

/// Whether the server has done what it was asked for. What it refuses is kept as the result, and the next thing may be
/// asked for; where it is not there, nothing more is.
fn understood(
    asked: Result<(), kube::Error>,
    result: &mut Result<(), kube::Error>,
) -> Result<bool, kube::Error> {
    match asked {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) => {
            *result = Err(kube::Error::Api(status));
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Sets the node's condition NetworkUnavailable to False; without it, some clusters keep pods away from the node.
async fn network_is_available(client: &Client, name: &str) -> Result<(), kube::Error> {
    const KIND: &str = "NetworkUnavailable";
    let nodes: Api<Node> = Api::all(client.clone());
    let Some(node) = nodes.get_opt(name).await? else { return Ok(()) };
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    if conditions.iter().any(|condition| condition.type_ == KIND && condition.status == "False") {
        return Ok(());
    }
    let now = Time(Timestamp::now());
    let condition = json!({
        "type": KIND,
        "status": "False",
        "reason": "FairwayIsReady",
        "message": "Fairway's data path serves this node",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    });
    // A strategic merge patch finds the condition by its type.
    let patch = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
    match nodes.patch_status(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(|_| tracing::info!(node = name, "the node's network is available")),
    }
}

/// Makes an event at the object that a problem is about, if it is about one.
async fn refused(client: &Client, problem: &Problem) -> Result<(), kube::Error> {
    let Some((kind, namespace, name)) = problem.object.as_deref().and_then(object) else { return Ok(()) };
    let objects: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    };
    let Some(found) = objects.get_opt(name).await? else { return Ok(()) };
    let at = namespace.unwrap_or("default");
    let note = problem.words();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(event_name(name, &found.metadata, &note)),
            namespace: Some(at.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some("Refuse".into()),
        reason: Some("FairwayRefused".into()),
        // The API allows 1,024 bytes.
        note: Some(note.chars().take(1_000).collect()),
        type_: Some("Warning".into()),
        event_time: Some(MicroTime(Timestamp::now())),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(CONTROLLER.into()),
        regarding: Some(ObjectReference {
            api_version: Some(kind.api_version.clone()),
            kind: Some(kind.kind.clone()),
            name: found.metadata.name.clone(),
            namespace: found.metadata.namespace.clone(),
            uid: found.metadata.uid.clone(),
            resource_version: found.metadata.resource_version.clone(),
            field_path: None,
        }),
        ..Event::default()
    };
    let events: Api<Event> = Api::namespaced(client.clone(), at);
    match events.create(&PostParams::default(), &event).await {
        // Another replica has told it, or this one before it was started again.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        result => result.map(drop),
    }
}

/// The same for the same words about the same object.
fn event_name(name: &str, metadata: &ObjectMeta, note: &str) -> String {
    let words = format!("{} {note}", metadata.uid.as_deref().unwrap_or_default());
    let digest: String = Sha256::digest(words).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // A name of an object has at most 253 characters.
    format!("{}.{digest}", name.chars().take(236).collect::<String>())
}

/// Kind, namespace and name of `Service default/web`.
fn object(text: &str) -> Option<(ApiResource, Option<&str>, &str)> {
    use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
    let (kind, name) = text.split_once(' ')?;
    let kind = match kind {
        "Service" => ApiResource::erase::<Service>(&()),
        "EndpointSlice" => ApiResource::erase::<EndpointSlice>(&()),
        "Node" => ApiResource::erase::<Node>(&()),
        _ => return None,
    };
    match name.split_once('/') {
        Some((namespace, name)) => Some((kind, Some(namespace), name)),
        None => Some((kind, None, name)),
    }
}
