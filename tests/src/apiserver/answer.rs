//! What the server answers: documents, and Status objects where it refuses.

use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::kind::{Kind, Target};

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
    /// Of the Status.
    pub(super) metadata: Box<Value>,
    pub(super) details: Box<Value>,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            retry_after: None,
            metadata: Box::new(json!({})),
            details: Box::default(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(super) fn forbidden(user: &str, verb: &str, target: &Target) -> Self {
        let (plural, group) = (target.kind.plural(), target.group.as_str());
        let resource = match &target.subresource {
            Some(subresource) => format!("{plural}/{subresource}"),
            None => plural.to_owned(),
        };
        let subject = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
        let name = target.name.as_deref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let scope = match &target.namespace {
            Some(namespace) => format!("in the namespace {namespace:?}"),
            None => "at the cluster scope".to_owned(),
        };
        let mut refusal = Self::new(
            403,
            "Forbidden",
            format!(
                "{subject}{name} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group \
                 {group:?} {scope}"
            ),
        );
        *refusal.details = json!({ "group": group, "kind": plural });
        refusal
    }

    /// There is nothing at this path.
    pub(super) fn no_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(super) fn not_found(kind: Kind, name: &str) -> Self {
        let mut refusal = Self::new(404, "NotFound", format!("{} {name:?} not found", kind.plural()));
        *refusal.details = json!({ "name": name, "kind": kind.plural() });
        refusal
    }

    pub(super) fn conflict(kind: Kind, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: the object has been modified; please apply your changes to \
             the latest version and try again",
            kind.plural()
        );
        Self::new(409, "Conflict", message)
    }

    pub(super) fn exists(kind: Kind, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {name:?} already exists", kind.plural()))
    }

    /// A version, or a list's next chunk, that is compacted away.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(super) fn media_type(kind: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types do not include {kind}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// A version that the server has not come to yet.
    pub(super) fn too_large(asked: u64, current: u64) -> Self {
        let mut refusal = Self::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        );
        *refusal.details = json!({
            "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            "retryAfterSeconds": 1,
        });
        refusal
    }

    /// What the trial asked for.
    pub(super) fn of_status(code: u16, retry_after: Option<Duration>) -> Self {
        let (reason, message) = match code {
            429 => ("TooManyRequests", "Too many requests, please try again later."),
            500 => ("InternalError", "Internal error occurred: etcdserver: request timed out"),
            503 => ("ServiceUnavailable", "apiserver is shutting down"),
            504 => ("Timeout", "The request timed out"),
            _ => ("Unknown", "unknown"),
        };
        let mut refusal = Self::new(code, reason, message);
        refusal.retry_after = retry_after;
        if let Some(after) = retry_after {
            *refusal.details = json!({ "retryAfterSeconds": after.as_secs() });
        }
        refusal
    }

    /// As a document.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = Value::clone(&self.details);
        }
        status
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = document(code, &self.status());
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
        }
        response
    }
}

/// A JSON document.
pub(super) fn document(code: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
