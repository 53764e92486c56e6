//! HTTP: health, readiness, metrics, and the health check ports of Services.

mod local;
mod metrics;
mod probes;
mod service_ports;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::node::Shared;
pub(crate) use metrics::Synced;
pub use metrics::{Forgotten, Metrics};
use probes::Health;

/// Why health cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("health-address: `{address}` cannot be listened on; is another agent or kube-proxy running there?")]
pub struct Error {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Takes the address.
///
/// # Errors
///
/// It is taken by another, or not an address of this host.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error { address, source })
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let health = Health::new(shared.state.subscribe(), shared.metrics.clone());
    let metrics = Router::new().route("/metrics", get(text)).with_state(shared);
    let routes = pages(health).merge(metrics);
    let stopped = async move { stop.cancelled().await };
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stopped).await {
        tracing::error!("serving health failed: {error}");
    }
}

/// Serves the health check ports of Services until `stop`.
pub async fn serve_services(shared: Arc<Shared>, stop: CancellationToken) {
    let health = Health::new(shared.state.subscribe(), shared.metrics.clone());
    service_ports::keep(health, &shared.state, stop).await;
}

/// What needs no kernel.
fn pages(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(probes::healthz))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/proxyMode", get(proxy_mode))
        .with_state(health)
}

/// Tools ask kube-proxy for this.
async fn proxy_mode() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")], "fairway")
}

async fn text(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    // Reading the kernel's counters blocks for a short time.
    let text = tokio::task::spawn_blocking(move || metrics::encode(&shared)).await.unwrap_or_default();
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
