//! The way of a request: noted, held up or refused as the trial wants it, authenticated, authorized, answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::{Refusal, document};
use super::kind::Target;
use super::log::{Request, Verb};
use super::{Shared, list, lock, watch, write};

/// More than any document that clients write.
const LARGEST: usize = 4 << 20;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// It has shown a certificate of this server's authority.
    pub(super) certificate: bool,
    /// [`Shared::closings`] when it came in.
    pub(super) opened: u64,
}

impl Peer {
    /// Whether its connection is about to be cut.
    pub(super) fn is_gone(self, shared: &Shared) -> bool {
        shared.closings.load(Ordering::SeqCst) != self.opened
    }
}

/// The query's parameters.
pub(super) type Query = BTreeMap<String, String>;

/// Answers any request.
pub(super) async fn handle(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    request: HttpRequest,
) -> Response {
    if peer.is_gone(&shared) {
        return std::future::pending().await;
    }
    let (parts, body) = request.into_parts();
    let query: Query =
        form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let path = parts.uri.path().to_owned();
    let target = Target::parse(&path);
    let verb = verb(&parts.method, target.as_ref(), &query);
    let kind = target.as_ref().map(|target| target.kind);
    let number =
        shared.log.came(Request { verb, path, kind, query: query.clone(), at: Instant::now(), status: None });
    let answer = answer(&shared, peer, verb, target, &query, &parts, body).await;
    let response = answer.unwrap_or_else(IntoResponse::into_response);
    shared.log.answered(number, response.status().as_u16());
    response
}

fn verb(method: &Method, target: Option<&Target>, query: &Query) -> Verb {
    let watches = query.get("watch").is_some_and(|value| matches!(value.as_str(), "true" | "1"));
    match *method {
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        _ if target.is_some_and(|target| target.name.is_none()) && watches => Verb::Watch,
        _ if target.is_some_and(|target| target.name.is_none()) => Verb::List,
        _ => Verb::Get,
    }
}

async fn answer(
    shared: &Arc<Shared>,
    peer: Peer,
    verb: Verb,
    target: Option<Target>,
    query: &Query,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    shared.faults.released(target.as_ref().map(|target| target.kind)).await;
    tokio::time::sleep(shared.faults.delayed_by()).await;
    if let Some(failure) = shared.faults.failure() {
        return Err(failure);
    }
    let user = user(shared, peer, parts).ok_or_else(Refusal::unauthorized)?;
    let Some(target) = target else { return other(parts) };
    if shared.faults.is_forbidden(target.kind) || !shared.role.allows(verb, &target) {
        return Err(Refusal::forbidden(user, verb.name(), &target));
    }
    match verb {
        Verb::Get => get(shared, &target),
        Verb::List => list::answer(shared, &target, query),
        Verb::Watch => watch::answer(shared, peer, &target, query),
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete => {
            let body =
                to_bytes(body, LARGEST).await.map_err(|error| Refusal::bad_request(error.to_string()))?;
            let content = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            write::answer(shared, verb, &target, content.unwrap_or("application/json"), query, &body)
        }
    }
}

/// Who sends the request, if the server knows.
fn user(shared: &Shared, peer: Peer, parts: &Parts) -> Option<&'static str> {
    if peer.certificate {
        return Some("fairway");
    }
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let token = value.strip_prefix("Bearer ")?;
    let known = lock(&shared.tokens).iter().any(|one| one == token.trim());
    known.then_some("system:serviceaccount:kube-system:fairway-control")
}

/// Paths that name no kind.
fn other(parts: &Parts) -> Result<Response, Refusal> {
    match parts.uri.path() {
        "/version" => Ok(document(
            StatusCode::OK,
            &json!({
                "major": "1", "minor": "35", "gitVersion": "v1.35.0", "gitTreeState": "clean",
                "gitCommit": "0000000000000000000000000000000000000000", "buildDate": "2025-12-17T12:00:00Z",
                "goVersion": "go1.25.5", "compiler": "gc", "platform": "linux/amd64",
            }),
        )),
        "/livez" | "/readyz" | "/healthz" => Ok("ok".into_response()),
        _ => Err(Refusal::no_path()),
    }
}

fn get(shared: &Shared, target: &Target) -> Result<Response, Refusal> {
    let name = target.name.clone().unwrap_or_default();
    let key = (target.kind, target.namespace.clone().unwrap_or_default(), name.clone());
    let object = lock(&shared.store).state().get(&key).cloned();
    let object = object.ok_or_else(|| Refusal::not_found(target.kind, &name))?;
    Ok(document(StatusCode::OK, &object))
}
