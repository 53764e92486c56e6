//! HTTP: health, readiness, metrics.

mod metrics;
mod probes;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::node::Shared;
pub use metrics::Metrics;

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
    let routes = Router::new()
        .route("/healthz", get(probes::healthz))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(text))
        .with_state(shared);
    let stopped = async move { stop.cancelled().await };
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stopped).await {
        tracing::error!("serving health failed: {error}");
    }
}

async fn text(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    // Reading the kernel's counters blocks for a short time.
    let text = tokio::task::spawn_blocking(move || metrics::encode(&shared)).await.unwrap_or_default();
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
