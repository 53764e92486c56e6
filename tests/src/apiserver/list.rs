//! Lists, whole or in chunks of one version.

use std::ops::Bound;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::{Refusal, document};
use super::handler::Query;
use super::kind::{Kind, Target};
use super::selector::{NoSelector, Selector};
use super::store::{State, Store};
use super::{Shared, lock};

/// What a list asks for.
struct Asked {
    selector: Selector,
    limit: usize,
    /// Namespace and name of the last object that the client has.
    after: Option<(String, String)>,
}

/// Which objects of a kind a list or a watch is about.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) kind: Kind,
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
}

impl Scope {
    pub(super) fn new(target: &Target, query: &Query) -> Result<Self, Refusal> {
        let text = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
        let selector = Selector::parse(text("labelSelector"), text("fieldSelector")).map_err(|error| {
            let NoSelector(text) = error;
            Refusal::bad_request(format!("unable to parse requirement: {text:?}"))
        })?;
        Ok(Self { kind: target.kind, namespace: target.namespace.clone(), selector })
    }

    pub(super) fn covers(&self, namespace: &str, object: &Value) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace) && self.selector.matches(object)
    }
}

/// A resourceVersion; none: not said, or `0`, which any version fulfils.
pub(super) fn version(query: &Query) -> Result<Option<u64>, Refusal> {
    match query.get("resourceVersion").map(String::as_str) {
        None | Some("" | "0") => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Refusal::bad_request(format!("invalid resource version {text:?}"))),
    }
}

/// The answer to a list.
pub(super) fn answer(shared: &Shared, target: &Target, query: &Query) -> Result<Response, Refusal> {
    let scope = Scope::new(target, query)?;
    let (revision, state, after) = {
        let store = lock(&shared.store);
        chosen(&store, query)?
    };
    let number = |text: &String| text.parse::<usize>();
    let limit = query.get("limit").map(number).transpose();
    let limit = limit.map_err(|_| Refusal::bad_request("limit is not a number"))?.unwrap_or(0);
    // The watch cache, which answers these, knows no chunks.
    let cached = query.get("resourceVersion").is_some_and(|version| version == "0");
    let limit = if limit == 0 || cached { usize::MAX } else { limit };
    let asked = Asked { selector: scope.selector.clone(), limit, after };
    Ok(document(StatusCode::OK, &chunk(&scope, &asked, revision, &state)))
}

type Chosen = (u64, State, Option<(String, String)>);

/// The version that is to be listed, and where in it to begin.
fn chosen(store: &Store, query: &Query) -> Result<Chosen, Refusal> {
    let asked = version(query)?;
    if let Some(token) = query.get("continue").filter(|token| !token.is_empty()) {
        if asked.is_some() {
            return Err(Refusal::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        return resumed(store, token);
    }
    let matching = query.get("resourceVersionMatch").map(String::as_str).filter(|text| !text.is_empty());
    let limited = query.get("limit").is_some_and(|limit| limit != "0");
    let said = query.get("resourceVersion").is_some_and(|version| !version.is_empty());
    let exact = match matching {
        Some(_) if !said => {
            return Err(Refusal::invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        Some("Exact") if asked.is_none() => {
            return Err(Refusal::invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        Some("Exact") => true,
        Some("NotOlderThan") => false,
        Some(other) => {
            return Err(Refusal::invalid(format!("resourceVersionMatch: Unsupported value: {other:?}")));
        }
        None => limited,
    };
    let current = || (store.revision(), store.state().clone(), None);
    match asked {
        Some(version) if version > store.revision() => Err(Refusal::too_large(version, store.revision())),
        Some(version) if exact => match store.at(version) {
            Some(state) => Ok((version, state.clone(), None)),
            None => Err(Refusal::expired("The resourceVersion for the provided list is too old.")),
        },
        _ => Ok(current()),
    }
}

/// Where a token of an earlier chunk leads.
fn resumed(store: &Store, token: &str) -> Result<Chosen, Refusal> {
    let parts: Option<(u64, String, String)> = (|| {
        let mut parts = token.splitn(3, '/');
        let revision = parts.next()?.parse().ok()?;
        Some((revision, parts.next()?.to_owned(), parts.next()?.to_owned()))
    })();
    let Some((revision, namespace, name)) = parts else {
        return Err(Refusal::bad_request("continue key is not valid: it is not a token of this server"));
    };
    if let Some(state) = store.at(revision) {
        return Ok((revision, state.clone(), Some((namespace, name))));
    }
    let mut refusal = Refusal::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    *refusal.metadata = json!({ "continue": format!("{}/{namespace}/{name}", store.revision()) });
    Err(refusal)
}

fn chunk(scope: &Scope, asked: &Asked, revision: u64, state: &State) -> Value {
    let kind = scope.kind;
    let start = match &asked.after {
        Some((namespace, name)) => Bound::Excluded((kind, namespace.clone(), name.clone())),
        None => Bound::Included((kind, String::new(), String::new())),
    };
    let mut rest = state
        .range((start, Bound::Unbounded))
        .take_while(|((of, ..), _)| *of == kind)
        .filter(|((_, namespace, _), object)| scope.covers(namespace, object));
    let mut items = Vec::new();
    let mut last = None;
    for (key, object) in rest.by_ref().take(asked.limit) {
        items.push(listed(object));
        last = Some(key);
    }
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    let more = rest.count();
    if let Some((_, namespace, name)) = last.filter(|_| more > 0) {
        metadata["continue"] = json!(format!("{revision}/{namespace}/{name}"));
        if asked.selector.is_empty() {
            metadata["remainingItemCount"] = json!(more);
        }
    }
    json!({
        "kind": format!("{}List", kind.name()),
        "apiVersion": kind.api_version(),
        "metadata": metadata,
        "items": items,
    })
}

/// Objects of built-in kinds do not repeat what they are inside of a list.
fn listed(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}
