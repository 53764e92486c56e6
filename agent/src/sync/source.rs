//! Where the control plane is, and the way there.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::engine::chain;
use super::tls::{TlsError, secured};
use super::way::Way;
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
    /// In other processes of a simulated network.
    #[doc(hidden)]
    Simulated {
        /// Their names.
        places: Vec<String>,
        /// How to connect to one.
        way: Way,
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
    #[error(transparent)]
    Tls(#[from] TlsError),
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
            let ask = Duration::from_millis(fastrand::u64(600..=750));
            return Self { connect: Duration::from_secs(1), ask, alive: Duration::from_millis(750) };
        }
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), ask: seconds(10), alive: seconds(5) }
    }

    fn endpoint(&self, address: String) -> Result<Endpoint, Error> {
        Ok(Endpoint::from_shared(address)?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.ask)
            .keep_alive_timeout(self.alive)
            .keep_alive_while_idle(true))
    }

    /// Waits for a connection: the endpoint's own limit is for TCP alone.
    async fn wait(
        &self,
        connecting: impl Future<Output = Result<Channel, tonic::transport::Error>>,
    ) -> Result<Channel, Error> {
        let connected = tokio::time::timeout(self.connect, connecting).await;
        Ok(connected.map_err(|_| Error::Late(self.connect))??)
    }
}

impl Source {
    /// The places, for people.
    pub fn names(&self) -> Vec<String> {
        match self {
            Source::Remote { addresses, .. } => addresses.iter().map(ToString::to_string).collect(),
            Source::Simulated { places, .. } => places.clone(),
            Source::Embedded { name, .. } => vec![name.clone()],
        }
    }

    /// The certificates' files, where it has some.
    pub(super) fn tls(&self) -> Option<&TlsFiles> {
        match self {
            Source::Remote { tls, .. } => tls.as_ref(),
            Source::Simulated { .. } | Source::Embedded { .. } => None,
        }
    }

    /// There is more than one place.
    pub(super) fn has_others(&self) -> bool {
        self.names().len() > 1
    }

    /// Connects to the place of that index.
    pub(super) async fn connect(&self, place: usize) -> Result<Channel, Error> {
        let patience = Patience::new(self.has_others());
        match self {
            Source::Embedded { channel, .. } => Ok(channel.clone()),
            Source::Simulated { places, way } => {
                let (place, way) = (places.get(place).ok_or(Error::Ended)?.clone(), way.clone());
                let connector = tower::service_fn(move |_| way.to(place.clone()));
                let endpoint = patience.endpoint("http://simulated".into())?;
                patience.wait(endpoint.connect_with_connector(connector)).await
            }
            Source::Remote { addresses, tls } => {
                let address = addresses.get(place).ok_or(Error::Ended)?;
                // tonic knows unix sockets by their scheme.
                let endpoint = patience.endpoint(address.to_string())?;
                let endpoint = match (address, tls) {
                    (ControlAddress::Tls(_), Some(files)) => secured(endpoint, files)?,
                    _ => endpoint,
                };
                patience.wait(endpoint.connect()).await
            }
        }
    }
}
