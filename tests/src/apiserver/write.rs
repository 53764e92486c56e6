//! What clients may write: the status of Nodes, and Events.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::answer::{Refusal, document};
use super::handler::Query;
use super::kind::{Kind, Target};
use super::log::Verb;
use super::patch::{self, Form};
use super::store::Store;
use super::{Shared, event, lock};

/// The answer to a request that writes.
pub(super) fn answer(
    shared: &Shared,
    verb: Verb,
    target: &Target,
    content: &str,
    query: &Query,
    body: &[u8],
) -> Result<Response, Refusal> {
    let sent: Value = match Form::of(content) {
        // JSON is YAML.
        Some(Form::Apply) => {
            std::str::from_utf8(body).ok().and_then(|text| serde_saphyr::from_str(text).ok())
        }
        _ => serde_json::from_slice(body).ok(),
    }
    .ok_or_else(|| Refusal::bad_request("the body of the request is not a document"))?;
    let mut store = lock(&shared.store);
    let (status, object) = match (target.kind, verb) {
        (Kind::Event, Verb::Create) => (StatusCode::CREATED, create_event(&mut store, target, sent)?),
        (_, Verb::Update) => (StatusCode::OK, update(&mut store, target, sent)?),
        (_, Verb::Patch) => {
            let form = Form::of(content).ok_or_else(|| Refusal::media_type(content))?;
            (StatusCode::OK, patched(&mut store, target, form, query, &sent)?)
        }
        _ => return Err(Refusal::no_path()),
    };
    drop(store);
    shared.changed.send_replace(());
    Ok(document(status, &object))
}

fn put(store: &mut Store, object: Value) -> Result<Arc<Value>, Refusal> {
    store.put(object).map_err(|error| Refusal::invalid(error.to_string()))
}

fn create_event(store: &mut Store, target: &Target, sent: Value) -> Result<Arc<Value>, Refusal> {
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let object = event::checked(sent, &target.group, namespace)?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if store.state().contains_key(&(Kind::Event, namespace.to_owned(), name.clone())) {
        return Err(Refusal::exists(Kind::Event, &name));
    }
    put(store, object)
}

/// The object that a request is about.
fn found(store: &Store, target: &Target) -> Result<Value, Refusal> {
    let name = target.name.clone().unwrap_or_default();
    let key = (target.kind, target.namespace.clone().unwrap_or_default(), name);
    let object = store.state().get(&key).map(|object| Value::clone(object));
    object.ok_or_else(|| Refusal::not_found(target.kind, &key.2))
}

/// A request that names a version is about no other one.
fn same_version(old: &Value, sent: &Value, target: &Target) -> Result<(), Refusal> {
    let same = ["resourceVersion", "uid"].iter().all(|field| {
        let said = &sent["metadata"][field];
        said.as_str().is_none_or(str::is_empty) || *said == old["metadata"][field]
    });
    let name = target.name.as_deref().unwrap_or_default();
    if same { Ok(()) } else { Err(Refusal::conflict(target.kind, name)) }
}

fn update(store: &mut Store, target: &Target, sent: Value) -> Result<Arc<Value>, Refusal> {
    let mut object = found(store, target)?;
    same_version(&object, &sent, target)?;
    match target.kind {
        Kind::Node => object["status"] = sent["status"].clone(),
        _ => object = sent,
    }
    checked(&object, target)?;
    put(store, object)
}

fn patched(
    store: &mut Store,
    target: &Target,
    form: Form,
    query: &Query,
    sent: &Value,
) -> Result<Arc<Value>, Refusal> {
    let mut object = found(store, target)?;
    same_version(&object, sent, target)?;
    match (target.kind, form) {
        (Kind::Node, Form::Apply) => {
            let manager = query.get("fieldManager").filter(|manager| !manager.is_empty());
            let manager = manager.ok_or_else(|| {
                Refusal::invalid("fieldManager: Required value: is required for apply patch")
            })?;
            if sent["kind"] != "Node" || sent["apiVersion"] != "v1" {
                return Err(Refusal::bad_request("an apply patch says its apiVersion and kind"));
            }
            let force = query.get("force").is_some_and(|force| force == "true");
            patch::apply_status(&mut object, sent, manager, force)?;
        }
        // The rest of the object cannot be written here.
        (Kind::Node, _) => {
            let mut status = object["status"].take();
            patch::merge(form, &mut status, &sent["status"]);
            object["status"] = status;
        }
        _ => patch::merge(form, &mut object, sent),
    }
    checked(&object, target)?;
    put(store, object)
}

/// Conditions have a type and one of three states.
fn checked(object: &Value, target: &Target) -> Result<(), Refusal> {
    if target.kind != Kind::Node {
        return Ok(());
    }
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let wrong = conditions.into_iter().find(|condition| {
        let named = condition["type"].as_str().is_some_and(|name| !name.is_empty());
        !named || !matches!(condition["status"].as_str(), Some("True" | "False" | "Unknown"))
    });
    match wrong {
        Some(condition) => Err(Refusal::invalid(format!("status.conditions: Invalid value: {condition}"))),
        None => Ok(()),
    }
}
