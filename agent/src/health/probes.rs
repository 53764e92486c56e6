//! /healthz, /livez and /readyz.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::Metrics;
use crate::sync::SyncState;

/// The time in which a change must be applied: kube-proxy's default sync period. Fairway has no period, it applies
/// changes as they come.
const SYNC_PERIOD: Duration = Duration::from_secs(30);
/// A change that waits for longer than this is a fault.
pub(super) const LATE: Duration = SYNC_PERIOD.saturating_mul(2);
/// Cluster autoscaler's word that a node is about to go.
const LEAVING: &str = "ToBeDeletedByClusterAutoscaler";

/// What the answers are made of.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) state: watch::Receiver<Arc<SyncState>>,
    pub(super) metrics: Arc<Metrics>,
}

/// The answer, as kube-proxy words it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    current_time: String,
    last_updated: String,
    healthy: bool,
    status: BTreeMap<&'static str, Family>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    /// What is wrong; empty: nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// An IP family; one sync serves both.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    last_updated: String,
    healthy: bool,
}

type Answer = (StatusCode, [(HeaderName, &'static str); 2], String);

fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

impl Health {
    pub(super) fn new(state: watch::Receiver<Arc<SyncState>>, metrics: Arc<Metrics>) -> Self {
        Self { state, metrics }
    }

    /// Why the data path is behind the cluster, if it is.
    pub(super) fn late(&self) -> Option<String> {
        let waiting = self.metrics.waiting().filter(|waiting| *waiting > LATE)?;
        Some(format!("a change has waited for {} s to be applied", waiting.as_secs()))
    }

    fn page(&self, reasons: Vec<String>, node_eligible: Option<bool>) -> Answer {
        let (now, updated) = (SystemTime::now(), self.state.borrow().applied_at);
        let healthy = reasons.is_empty();
        let current_time = rfc3339(now);
        let family = |updated| Family { last_updated: rfc3339(updated), healthy: self.late().is_none() };
        let families = updated.map(family).into_iter();
        let page = Page {
            // As in kube-proxy: of now, while nothing is wrong.
            last_updated: if healthy {
                current_time.clone()
            } else {
                rfc3339(updated.unwrap_or(SystemTime::UNIX_EPOCH))
            },
            current_time,
            healthy,
            status: families.flat_map(|family| [("IPv4", family.clone()), ("IPv6", family)]).collect(),
            node_eligible,
            reasons,
        };
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let headers = [(CONTENT_TYPE, "application/json"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
        (status, headers, serde_json::to_string(&page).unwrap_or_default())
    }
}

/// Why load balancers should leave this node, if they should.
fn leaving(state: &SyncState) -> Option<&'static str> {
    let node = state.cluster.nodes.get(&state.node.name);
    let object = node.and_then(|node| node.object.as_ref());
    if state.node_deleted {
        return Some("the Node object of this node was deleted");
    }
    match object {
        Some(object) if object.deleting => Some("the Node object of this node is being deleted"),
        Some(object) if object.taints.iter().any(|key| key == LEAVING) => {
            Some("this node has the taint ToBeDeletedByClusterAutoscaler")
        }
        _ => None,
    }
}

/// The data path follows the cluster, and load balancers may send new connections here.
pub(super) async fn healthz(State(health): State<Health>) -> Answer {
    let leaving = leaving(&health.state.borrow()).map(str::to_owned);
    let eligible = leaving.is_none();
    let answer = health.page(health.late().into_iter().chain(leaving).collect(), Some(eligible));
    health.metrics.healthz(answer.0.as_u16());
    answer
}

/// The data path follows the cluster; what becomes of the node does not count.
pub(super) async fn livez(State(health): State<Health>) -> Answer {
    let answer = health.page(health.late().into_iter().collect(), None);
    health.metrics.livez(answer.0.as_u16());
    answer
}

/// Programs are attached before this is served, so what is left is the first sync.
pub(super) async fn readyz(State(health): State<Health>) -> Answer {
    let first = health.state.borrow().applied.is_some();
    health.page(if first { vec![] } else { vec!["no state was applied yet".to_owned()] }, None)
}
