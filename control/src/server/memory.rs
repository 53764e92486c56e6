//! Connections inside this process.

use std::io;

use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// Bytes that may be on the way.
const BUFFER: usize = 64 * 1024;

/// Connects to the server of this process.
#[derive(Clone, Debug)]
pub(super) struct Connector(mpsc::UnboundedSender<DuplexStream>);

impl Connector {
    /// A channel that connects when it is used, and again after a broken connection.
    pub(super) fn channel(&self) -> Channel {
        let connect = self.0.clone();
        Endpoint::from_static("http://fairway-control").connect_with_connector_lazy(tower::service_fn(
            move |_| {
                let (ours, theirs) = tokio::io::duplex(BUFFER);
                let sent =
                    connect.send(theirs).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused));
                std::future::ready(sent.map(|()| TokioIo::new(ours)))
            },
        ))
    }
}

/// A connector and what it connects to.
pub(super) fn pair() -> (Connector, impl Stream<Item = io::Result<DuplexStream>> + Send + 'static) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Connector(sender), UnboundedReceiverStream::new(receiver).map(Ok))
}
