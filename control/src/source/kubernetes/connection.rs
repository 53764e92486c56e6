//! The way to the API server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::limit::RateLimitLayer;

use super::Kubernetes;

/// A server that does not take a connection in this time is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection on which nothing comes for so long is dead: watches end before that by themselves.
const SILENCE: Duration = Duration::from_secs(75);
/// Requests a second: a server that ends each watch at once is not asked as fast as it answers.
const RATE: u64 = 50;

/// An API server.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// Its URL, for people.
    pub(crate) server: Arc<str>,
}

/// Why it is not known how the API server is reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig `{path}` cannot be used: {reason}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// There is no service account either.
    #[error("no kubeconfig is given (--kubeconfig or KUBECONFIG), and this is no pod of a cluster: {0}")]
    NotInCluster(String),
    /// The address that was given.
    #[error("`{0}` is no URL of an API server, such as https://192.0.2.10:6443")]
    Server(String),
    /// TLS or the credentials.
    #[error("the credentials for the API server `{server}` cannot be used: {reason}")]
    Credentials {
        /// Its URL.
        server: String,
        /// Why.
        reason: String,
    },
}

/// Reads how the API server is reached. It need not be there.
///
/// # Errors
/// The file, and what is wrong with it.
pub(crate) async fn connect(options: &Kubernetes) -> Result<Connection, ConnectionError> {
    let mut config = config(options).await?;
    if let Some(server) = &options.server {
        let url = server.parse().ok().filter(|url: &http::Uri| {
            matches!(url.scheme_str(), Some("https" | "http")) && url.host().is_some()
        });
        config.cluster_url = url.ok_or_else(|| ConnectionError::Server(server.clone()))?;
    }
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    // What fails is reported, and tried again later by the reader of each kind.
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    let server = server.trim_end_matches('/');
    let builder = ClientBuilder::try_from(config).map_err(|source| ConnectionError::Credentials {
        server: server.to_owned(),
        reason: words(&source),
    })?;
    let client = builder.with_layer(&RateLimitLayer::new(RATE, Duration::from_secs(1))).build();
    Ok(Connection { client, server: server.into() })
}

/// An error with its causes in one line; many of kube's errors say what their cause says.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

async fn config(options: &Kubernetes) -> Result<Config, ConnectionError> {
    let unusable = |path: String| {
        move |error: KubeconfigError| ConnectionError::Kubeconfig {
            path: path.clone(),
            reason: words(&error),
        }
    };
    let (kubeconfig, path) = match &options.kubeconfig {
        Some(path) => {
            let name = path.display().to_string();
            (Some(Kubeconfig::read_from(path).map_err(unusable(name.clone()))?), name)
        }
        None => {
            let name = std::env::var_os("KUBECONFIG").map(PathBuf::from).unwrap_or_default();
            let name = name.display().to_string();
            (Kubeconfig::from_env().map_err(unusable(name.clone()))?, name)
        }
    };
    let Some(kubeconfig) = kubeconfig else {
        let config = Config::incluster().map_err(|error| ConnectionError::NotInCluster(words(&error)))?;
        if options.server.is_none() {
            tracing::warn!(
                server = %config.cluster_url,
                "the API server is reached by its Service, which Fairway itself has to serve: --kube-server names its own address"
            );
        }
        return Ok(config);
    };
    let context = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &context).await.map_err(unusable(path))
}
