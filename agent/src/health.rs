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

use crate::config::Config;
use crate::node::Shared;
pub(crate) use metrics::Synced;
pub use metrics::{Forgotten, Metrics};
use probes::Health;

/// Why health cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: `{address}` cannot be listened on; is another agent or kube-proxy running there?")]
pub struct Error {
    setting: &'static str,
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Where pages are asked for.
pub struct Listeners {
    health: TcpListener,
    /// None: metrics are where health is.
    metrics: Option<TcpListener>,
}

/// Takes the addresses.
///
/// # Errors
///
/// One is taken by another, or not an address of this host.
pub async fn bind(config: &Config) -> Result<Listeners, Error> {
    let health = listen("health-address", config.health_address).await?;
    let metrics = match config.metrics_address {
        Some(address) => Some(listen("metrics-address", address).await?),
        None => None,
    };
    Ok(Listeners { health, metrics })
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error { setting, address, source })
}

/// Serves until `stop`.
pub async fn serve(listeners: Listeners, shared: Arc<Shared>, stop: CancellationToken) {
    let health = pages(Health::new(shared.state.subscribe(), shared.metrics.clone()));
    let with_metrics = health.clone().merge(Router::new().route("/metrics", get(text)).with_state(shared));
    match listeners.metrics {
        Some(metrics) => {
            tokio::join!(answer(listeners.health, health, &stop), answer(metrics, with_metrics, &stop));
        }
        None => answer(listeners.health, with_metrics, &stop).await,
    }
}

async fn answer(listener: TcpListener, routes: Router, stop: &CancellationToken) {
    let stopped = stop.clone().cancelled_owned();
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
