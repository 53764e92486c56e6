//! A running control plane.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What a control plane is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of Kubernetes manifests; it may be created later.
    pub manifests: PathBuf,
    /// Where agents may connect; none: only by [`Server::channel`].
    pub listen: Vec<Listen>,
}

/// A place where agents connect.
#[derive(Clone, Debug)]
pub enum Listen {
    /// A unix socket, mode 0600, plaintext.
    Unix(PathBuf),
    /// TCP; port 0 takes a free one. `tls` none: plaintext, for tests only.
    Tcp {
        /// Address and port.
        address: SocketAddr,
        /// Mutual TLS.
        tls: Option<Tls>,
    },
}

/// PEM files of mutual TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who must have signed the clients' certificates.
    pub ca: PathBuf,
}

/// Why a control plane cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// A running control plane; dropped, it stops.
#[derive(Debug)]
pub struct Server {}

impl Server {
    /// Binds every address, starts to read the manifests, and returns when agents may connect.
    ///
    /// # Errors
    /// An address that cannot be bound, TLS files that cannot be used.
    pub async fn start(_options: Options) -> Result<Self, Error> {
        unimplemented!("being written")
    }

    /// A channel inside this process, for an agent that embeds its control plane.
    pub fn channel(&self) -> tonic::transport::Channel {
        unimplemented!("being written")
    }

    /// Where TCP agents connect, in the order of [`Options::listen`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &[]
    }

    /// Ends all streams and waits for them.
    ///
    /// # Errors
    /// A listener that failed while it ran.
    pub async fn stop(self) -> Result<(), Error> {
        Ok(())
    }
}

/// Runs a control plane until `shutdown` resolves.
///
/// # Errors
/// As [`Server::start`] and [`Server::stop`].
pub async fn serve(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let server = Server::start(options).await?;
    shutdown.await;
    server.stop().await
}
