//! Listeners: unix sockets, TCP, TCP with mutual TLS, and this process's memory.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fairway_proto::DESCRIPTORS;
use futures::{Stream, StreamExt};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::Connected;

use super::{Error, Listen, memory};
use crate::stream::{ControlService, Shared};
use crate::tls::{Connection, Rotation, refusal, watched};

/// A peer that says nothing for so long is asked whether it lives, and has as long to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// A TLS handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once; who comes then waits in the kernel's queue.
const HANDSHAKES: usize = 256;
/// Who was refused has so long to read why.
const LINGER: Duration = Duration::from_secs(1);
/// Streams of one connection: an agent needs one, and what looks at health a few. RFC 9113 wants 100 at least.
const STREAMS: u32 = 100;
/// The headers of a request: those of an agent are a few hundred bytes.
const HEADERS: u32 = 8 << 10;
/// Streams that a peer opened and reset before they were looked at; then it is cut off.
const RESETS: usize = 20;
/// Streams that were reset because of the peer's errors; then it is cut off.
const ERRORS: usize = 64;

/// What to do about an address that cannot be had.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another process uses it; stop that one, or choose another --listen",
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        io::ErrorKind::PermissionDenied => ": this user may not",
        _ => "",
    }
}

/// The gRPC services, the same on every listener.
pub(super) struct Services {
    routes: Routes,
    stop: CancellationToken,
}

impl Services {
    /// Control, health and reflection.
    pub(super) fn new<H>(
        shared: &Arc<Shared>,
        health: tonic_health::pb::health_server::HealthServer<H>,
    ) -> Self
    where
        H: tonic_health::pb::health_server::Health,
    {
        let mut routes = Routes::builder();
        routes.add_service(ControlService(Arc::clone(shared))).add_service(health);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1();
        match reflection {
            Ok(service) => drop(routes.add_service(service)),
            Err(error) => tracing::warn!(%error, "no gRPC reflection"),
        }
        Self { routes: routes.routes(), stop: shared.stop.clone() }
    }

    /// Binds and serves; the address, if it is TCP's.
    pub(super) async fn listen(
        &self,
        listen: &Listen,
        tasks: &mut JoinSet<Result<(), Error>>,
    ) -> Result<Option<SocketAddr>, Error> {
        match listen {
            Listen::Unix(path) => {
                let listener = bind_unix(path).await.map_err(|source| Error::Listen {
                    place: format!("unix://{}", path.display()),
                    source,
                })?;
                let socket = RemovedOnDrop(path.clone());
                tracing::info!(socket = %path.display(), "listening");
                let incoming =
                    UnixListenerStream::new(listener).inspect(move |_: &io::Result<UnixStream>| {
                        let _kept = &socket;
                    });
                self.serve(incoming, Some(STREAMS), tasks);
                Ok(None)
            }
            Listen::Tcp { address, tls } => {
                let tls = tls.clone().map(Rotation::new).transpose()?;
                let error = |source| Error::Listen { place: address.to_string(), source };
                let listener = TcpListener::bind(address).await.map_err(error)?;
                let address = listener.local_addr().map_err(error)?;
                tracing::info!(%address, tls = tls.is_some(), "listening");
                let incoming = TcpListenerStream::new(listener).inspect(|stream| {
                    if let Ok(stream) = stream {
                        // A delay is all that its failure would mean.
                        let _ = stream.set_nodelay(true);
                    }
                });
                match tls {
                    None => self.serve(incoming, Some(STREAMS), tasks),
                    Some(rotation) => {
                        self.serve(handshakes(incoming, rotation.config()), Some(STREAMS), tasks);
                        tokio::spawn(rotation.follow());
                    }
                }
                Ok(Some(address))
            }
        }
    }

    /// Serves this process.
    pub(super) fn memory(&self, tasks: &mut JoinSet<Result<(), Error>>) -> memory::Connector {
        let (connector, incoming) = memory::pair();
        // Who is in this process may share one connection as it likes.
        self.serve(incoming, None, tasks);
        connector
    }

    /// Serves connections, wherever they come from.
    pub(super) fn serve<I>(
        &self,
        incoming: impl Stream<Item = io::Result<I>> + Send + 'static,
        streams: Option<u32>,
        tasks: &mut JoinSet<Result<(), Error>>,
    ) where
        I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let server = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .max_concurrent_streams(streams)
            .http2_max_header_list_size(HEADERS)
            .http2_max_pending_accept_reset_streams(Some(RESETS))
            .http2_max_local_error_reset_streams(Some(ERRORS))
            .add_routes(self.routes.clone());
        let stop = self.stop.clone();
        tasks.spawn(async move {
            server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await.map_err(Error::from)
        });
    }
}

/// Removes a unix socket's file when nobody listens any more.
struct RemovedOnDrop(std::path::PathBuf);

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.0);
    }
}

/// Binds a unix socket, mode 0600. A socket file on which nobody listens is what a crash left: it is replaced.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() || UnixStream::connect(path).await.is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // Between bind and chmod nobody can be served: nothing accepts yet, and whoever connected before is not let in
    // with other rights than the file's at that time, so the file is made under a private name first.
    let private = path.with_extension(format!("{}.tmp", std::process::id()));
    let listener = UnixListener::bind(&private)?;
    let renamed = fs::set_permissions(&private, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&private, path));
    renamed.inspect_err(|_| drop(fs::remove_file(&private)))?;
    Ok(listener)
}

/// Shakes hands with several clients at a time, so that a silent one holds up nobody. The newest configuration counts.
fn handshakes(
    incoming: impl Stream<Item = io::Result<TcpStream>> + Send + 'static,
    config: watch::Receiver<Arc<ServerConfig>>,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        let shaking = incoming.for_each_concurrent(HANDSHAKES, |stream| async {
            let Ok(stream) = stream else { return };
            let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow()));
            if let Some(stream) = handshake(&acceptor, stream).await {
                // The server stops.
                let _ = sender.send(Ok(stream)).await;
            }
        });
        tokio::select! {
            () = shaking => {}
            () = sender.closed() => {}
        }
    });
    ReceiverStream::new(receiver)
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<Connection> {
    let peer = stream.peer_addr().ok();
    let accepting = acceptor.accept(stream).into_fallible();
    let (accepted, refused) = watched(tokio::time::timeout(HANDSHAKE, accepting)).await;
    let (error, stream) = match accepted {
        Ok(Ok(stream)) => return Some(Connection::new(stream)),
        Ok(Err((error, stream))) => (error, Some(stream)),
        Err(_) => (io::ErrorKind::TimedOut.into(), None),
    };
    if error.kind() == io::ErrorKind::UnexpectedEof {
        // As who only asks whether somebody listens: a kubelet that probes, a load balancer.
        tracing::debug!(peer = peer.map(|peer| peer.to_string()), "hung up before the TLS handshake ended");
        return None;
    }
    tracing::warn!(peer = peer.map(|peer| peer.to_string()), %error, "{}", refusal(&error, refused.as_deref()));
    if let Some(stream) = stream {
        let _ = tokio::time::timeout(LINGER, linger(stream)).await;
    }
    None
}

/// Reads what the peer still sends: a socket that is closed over unread bytes is reset, and the alert that says why
/// would be lost.
async fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}
