//! Where the control plane is, and the way there.

use std::path::Path;
use std::time::Duration;

use rand::Rng;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::engine::chain;
use crate::config::{ControlAddress, TlsFiles};

/// Where the control plane is.
#[derive(Clone, Debug)]
pub enum Source {
    /// In other processes.
    Remote {
        /// Their addresses. All serve the same; the agent is connected to one of them.
        addresses: Vec<ControlAddress>,
        /// Certificates, for `https://` addresses.
        tls: Option<TlsFiles>,
    },
    /// In this process.
    Embedded {
        /// The way to it.
        channel: Channel,
        /// What it reads, for people.
        name: String,
    },
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("`{path}` cannot be read")]
    Certificate {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("no connection to the control plane")]
    Connect(#[from] tonic::transport::Error),
    #[error("no connection to the control plane within {} s", .0.as_secs())]
    Late(Duration),
    #[error("the control plane has no state to send within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the control plane refused or ended the stream: {0}")]
    Status(String),
    #[error("the control plane ended the stream")]
    Ended,
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let cause = std::error::Error::source(&status).map(|cause| format!(" ({})", chain(cause)));
        Error::Status(format!("{}: {}{}", status.code(), status.message(), cause.unwrap_or_default()))
    }
}

/// How long a control plane may be silent.
struct Patience {
    /// Until there is a connection, TLS included.
    connect: Duration,
    /// Until it is asked whether it lives.
    ask: Duration,
    /// Until it has said so.
    alive: Duration,
}

impl Patience {
    /// With others to go to a silent one is left in less than two seconds; but many agents do not ask at one moment.
    fn new(others: bool) -> Self {
        if others {
            let ask = Duration::from_millis(rand::rng().random_range(600..=750));
            return Self { connect: Duration::from_secs(1), ask, alive: Duration::from_millis(750) };
        }
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), ask: seconds(10), alive: seconds(5) }
    }
}

impl Source {
    /// The places, for people.
    pub fn names(&self) -> Vec<String> {
        match self {
            Source::Remote { addresses, .. } => addresses.iter().map(ToString::to_string).collect(),
            Source::Embedded { name, .. } => vec![name.clone()],
        }
    }

    /// There is more than one place.
    pub(super) fn has_others(&self) -> bool {
        matches!(self, Source::Remote { addresses, .. } if addresses.len() > 1)
    }

    /// Connects to the place of that index.
    pub(super) async fn connect(&self, place: usize) -> Result<Channel, Error> {
        let (address, tls) = match self {
            Source::Embedded { channel, .. } => return Ok(channel.clone()),
            Source::Remote { addresses, tls } => (addresses.get(place).ok_or(Error::Ended)?, tls),
        };
        let patience = Patience::new(self.has_others());
        // tonic knows unix sockets by their scheme.
        let endpoint = Endpoint::from_shared(address.to_string())?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(patience.ask)
            .keep_alive_timeout(patience.alive)
            .keep_alive_while_idle(true);
        let endpoint = match (address, tls) {
            (ControlAddress::Tls(_), Some(files)) => endpoint.tls_config(certificates(files)?)?,
            _ => endpoint,
        };
        // The endpoint's own limit is for TCP alone.
        let connected = tokio::time::timeout(patience.connect, endpoint.connect()).await;
        Ok(connected.map_err(|_| Error::Late(patience.connect))??)
    }
}

/// Reads the files anew for each connection: certificates are replaced while the agent runs.
fn certificates(files: &TlsFiles) -> Result<ClientTlsConfig, Error> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| Error::Certificate { path: path.display().to_string(), source })
    };
    Ok(ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(&files.ca)?))
        .identity(Identity::from_pem(read(&files.cert)?, read(&files.key)?)))
}
