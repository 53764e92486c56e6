//! The stream to the control plane: opened again whenever it ends.

use std::time::Duration;

use fairway_proto::control::control_client::ControlClient;
use fairway_proto::control::{
    Hello, Node, PodStatus, Report, SubscribeRequest, SubscribeResponse, Version, subscribe_request::Body,
};
use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::engine::chain;
use crate::config::{ControlAddress, TlsFiles};
use crate::resolve::LocalNode;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// The largest response that is read.
const LARGEST: usize = 64 << 20;

/// Where the control plane is.
#[derive(Clone, Debug)]
pub enum Source {
    /// In another process.
    Remote {
        /// Its address.
        address: ControlAddress,
        /// Certificates, for an `https://` address.
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

impl Source {
    /// The address, for people.
    pub fn name(&self) -> String {
        match self {
            Source::Remote { address: ControlAddress::Unix(path), .. } => {
                format!("unix://{}", path.display())
            }
            Source::Remote { address: ControlAddress::Tls(url) | ControlAddress::Plain(url), .. } => {
                url.clone()
            }
            Source::Embedded { name, .. } => name.clone(),
        }
    }
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("`{path}` cannot be read")]
    Certificate {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("no connection to the control plane")]
    Connect(#[from] tonic::transport::Error),
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

/// What happens on the stream.
#[derive(Debug)]
pub(super) enum Event {
    /// It is open.
    Connected,
    /// Something came.
    Response(Box<SubscribeResponse>),
    /// It is not open.
    Disconnected {
        /// Why.
        reason: String,
    },
}

/// The agent's end of the stream.
pub(super) struct Client {
    pub(super) source: Source,
    /// What Hello says of the node; a change opens a new stream.
    pub(super) node: watch::Receiver<Node>,
    /// What Hello says was applied.
    pub(super) applied: watch::Receiver<Option<Version>>,
    /// The answer to the last complete version.
    pub(super) answer: watch::Receiver<Option<Body>>,
    pub(super) reports: watch::Receiver<Vec<PodStatus>>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Client {
    /// Keeps a stream open until the receiver of events is gone.
    pub(super) async fn run(mut self) {
        let mut wait = FIRST_RETRY;
        let events = self.events.clone();
        loop {
            let mut complete = false;
            let result = tokio::select! {
                result = self.stream(&mut complete) => result,
                () = events.closed() => return,
            };
            if complete {
                wait = FIRST_RETRY;
            }
            let Err(error) = result else {
                continue;
            };
            let reason = chain(&error);
            if events.send(Event::Disconnected { reason }).await.is_err() {
                return;
            }
            // Many agents lose one control plane at the same moment: they must not return at the same moment.
            let jittered = wait.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::select! {
                () = tokio::time::sleep(jittered) => {}
                () = events.closed() => return,
            }
            wait = (wait * 2).min(LAST_RETRY);
        }
    }

    /// One stream; Ok if it ended because Hello has changed.
    async fn stream(&mut self, complete: &mut bool) -> Result<(), Error> {
        let channel = self.connect().await?;
        let node = self.node.borrow_and_update().clone();
        let applied = *self.applied.borrow_and_update();
        self.answer.mark_unchanged();
        let (requests, outgoing) = mpsc::channel(4);
        let forwarding =
            forward(Hello { node: Some(node), applied }, self.answer.clone(), self.reports.clone(), requests);
        let mut client = ControlClient::new(channel).max_decoding_message_size(LARGEST);
        let receiving = async {
            let mut responses = client.subscribe(ReceiverStream::new(outgoing)).await?.into_inner();
            let _ = self.events.send(Event::Connected).await;
            while let Some(response) = responses.message().await? {
                *complete |= response.complete;
                let _ = self.events.send(Event::Response(Box::new(response))).await;
            }
            Err(Error::Ended)
        };
        tokio::select! {
            result = receiving => result,
            () = forwarding => Err(Error::Ended),
            Ok(()) = self.node.changed() => Ok(()),
        }
    }

    async fn connect(&self) -> Result<Channel, Error> {
        let (address, tls) = match &self.source {
            Source::Embedded { channel, .. } => return Ok(channel.clone()),
            Source::Remote { address, tls } => (address, tls),
        };
        let endpoint = match address {
            // tonic knows unix sockets by this scheme.
            ControlAddress::Unix(path) => Endpoint::from_shared(format!("unix://{}", path.display()))?,
            ControlAddress::Plain(url) | ControlAddress::Tls(url) => Endpoint::from_shared(url.clone())?,
        };
        let endpoint = endpoint
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let endpoint = match (address, tls) {
            (ControlAddress::Tls(_), Some(files)) => endpoint.tls_config(certificates(files)?)?,
            _ => endpoint,
        };
        Ok(endpoint.connect().await?)
    }
}

/// What the control plane is told of this node.
pub(super) fn about(base: &Node, node: &LocalNode) -> Node {
    Node {
        addresses: node.addresses.iter().map(ToString::to_string).collect(),
        zone: node.zone.clone().unwrap_or_default(),
        ..base.clone()
    }
}

/// Reads the files anew for each connection: certificates are replaced while the agent runs.
fn certificates(files: &TlsFiles) -> Result<ClientTlsConfig, Error> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|source| Error::Certificate { path: path.display().to_string(), source })
    };
    Ok(ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(&files.ca)?))
        .identity(Identity::from_pem(read(&files.cert)?, read(&files.key)?)))
}

/// Sends Hello, then the latest report and the latest answer whenever they change.
async fn forward(
    hello: Hello,
    mut answer: watch::Receiver<Option<Body>>,
    mut reports: watch::Receiver<Vec<PodStatus>>,
    requests: mpsc::Sender<SubscribeRequest>,
) {
    reports.mark_changed();
    let mut body = Some(Body::Hello(hello));
    loop {
        if let Some(body) = body.take()
            && requests.send(SubscribeRequest { body: Some(body) }).await.is_err()
        {
            return;
        }
        tokio::select! {
            Ok(()) = answer.changed() => body = answer.borrow_and_update().clone(),
            Ok(()) = reports.changed() => {
                body = Some(Body::Report(Report { pods: reports.borrow_and_update().clone() }));
            }
            else => std::future::pending().await,
        }
    }
}
