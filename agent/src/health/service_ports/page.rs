//! What a health check port answers, as kube-proxy words it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use serde::Serialize;
use tokio::sync::watch;

use super::{Answers, Health};

/// How many connections a load balancer should send here, in relation to other nodes.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

#[derive(Clone)]
struct Port {
    socket: SocketAddr,
    answers: watch::Receiver<Arc<Answers>>,
    health: Health,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    service: Service<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct Service<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// Any path.
pub(super) fn routes(socket: SocketAddr, answers: watch::Receiver<Arc<Answers>>, health: Health) -> Router {
    Router::new().fallback(answer).with_state(Port { socket, answers, health })
}

async fn answer(State(port): State<Port>) -> axum::response::Response {
    let answers = port.answers.borrow().clone();
    let Some(answer) = answers.get(&port.socket.port()) else {
        // The Service went while the request was under way.
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    // Who asks by IPv4 forwards IPv4.
    let local_endpoints = if port.socket.is_ipv4() { answer.v4 } else { answer.v6 };
    let service_proxy_healthy = port.health.late().is_none();
    let service = Service { namespace: answer.service.namespace(), name: answer.service.name() };
    let page = Page { service, local_endpoints, service_proxy_healthy };
    let serves = local_endpoints > 0 && service_proxy_healthy;
    let status = if serves { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [
        (CONTENT_TYPE, "application/json".to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (WEIGHT, local_endpoints.to_string()),
    ];
    (status, headers, serde_json::to_string(&page).unwrap_or_default()).into_response()
}
