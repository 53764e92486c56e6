//! /healthz, /livez and /readyz.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::node::Shared;

/// A sync that waits for longer than this is a fault: twice the time that kube-proxy calls its sync period.
const LATE: Duration = Duration::from_secs(60);

/// The answer, as kube-proxy words it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    last_updated: String,
    current_time: String,
    node_eligible: bool,
    healthy: bool,
    /// What is wrong; empty: nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

type Answer = (StatusCode, [(HeaderName, &'static str); 2], String);

fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

fn answer(shared: &Shared, reasons: Vec<String>) -> Answer {
    let state = shared.state.borrow().clone();
    let healthy = reasons.is_empty();
    let health = Health {
        last_updated: rfc3339(state.applied_at.unwrap_or(SystemTime::UNIX_EPOCH)),
        current_time: rfc3339(SystemTime::now()),
        node_eligible: node_eligible(&state),
        healthy,
        reasons,
    };
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(CONTENT_TYPE, "application/json"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, serde_json::to_string(&health).unwrap_or_default())
}

/// A node that the cluster knows nodes but not this one from was deleted.
fn node_eligible(state: &crate::sync::SyncState) -> bool {
    state.cluster.nodes.is_empty() || state.cluster.nodes.contains_key(&state.node.name)
}

fn late(shared: &Shared) -> Option<String> {
    let waiting = shared.metrics.waiting()?;
    (waiting > LATE).then(|| format!("a change has waited for {} s to be applied", waiting.as_secs()))
}

pub(super) async fn livez(State(shared): State<Arc<Shared>>) -> Answer {
    answer(&shared, late(&shared).into_iter().collect())
}

pub(super) async fn healthz(State(shared): State<Arc<Shared>>) -> Answer {
    let mut reasons: Vec<String> = late(&shared).into_iter().collect();
    if !node_eligible(&shared.state.borrow()) {
        reasons.push("this node is not in the cluster".to_owned());
    }
    answer(&shared, reasons)
}

/// Programs are attached before this is served, so what is left is the first sync.
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Answer {
    let first = shared.state.borrow().applied.is_some();
    answer(&shared, if first { vec![] } else { vec!["no state was applied yet".to_owned()] })
}
