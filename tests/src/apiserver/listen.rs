//! The port: open, or closed so that nobody else can have it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::certs::Authority;
use super::handler::{Peer, handle};
use crate::lab::Netns;

/// Where clients come in.
pub(super) struct Door {
    shared: Arc<Shared>,
    tls: Arc<ServerConfig>,
    /// None: this process's.
    netns: Option<Netns>,
    address: SocketAddr,
    /// Bound and never listening: the port stays this server's while it is down.
    _reserved: TcpSocket,
    serving: Option<JoinHandle<()>>,
}

fn socket(netns: Option<&Netns>, address: SocketAddr) -> io::Result<TcpSocket> {
    let bind = || {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    // A socket stays in the namespace that it was made in.
    netns.map_or_else(bind, |netns| netns.within(bind))
}

impl Door {
    pub(super) fn new(
        shared: Arc<Shared>,
        authority: &Authority,
        netns: Option<Netns>,
        address: IpAddr,
    ) -> anyhow::Result<Self> {
        let reserved = socket(netns.as_ref(), (address, 0).into())?;
        let address = reserved.local_addr()?;
        let tls = authority.server(false)?;
        Ok(Self { shared, tls, netns, address, _reserved: reserved, serving: None })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows another certificate from the next opening on.
    pub(super) fn show(&mut self, tls: Arc<ServerConfig>) {
        self.tls = tls;
    }

    /// Takes connections; does nothing if it does already.
    pub(super) fn open(&mut self) -> io::Result<()> {
        if self.serving.is_none() {
            let listener = socket(self.netns.as_ref(), self.address)?.listen(1024)?;
            let tls = TlsAcceptor::from(Arc::clone(&self.tls));
            let router = Router::new().fallback(handle).with_state(Arc::clone(&self.shared));
            let opened = self.shared.closings.load(Ordering::SeqCst);
            self.serving = Some(tokio::spawn(accept(listener, tls, router, opened)));
        }
        Ok(())
    }

    /// Cuts all connections and refuses new ones.
    pub(super) fn close(&mut self) {
        self.shared.closings.fetch_add(1, Ordering::SeqCst);
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

/// Aborted, it takes its connections with it.
async fn accept(listener: TcpListener, tls: TlsAcceptor, router: Router, opened: u64) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve(stream, tls.clone(), router.clone(), opened));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection that breaks is the client's to notice.
async fn serve(stream: TcpStream, tls: TlsAcceptor, router: Router, opened: u64) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = tls.accept(stream).await else { return };
    let certificate = stream.get_ref().1.peer_certificates().is_some();
    let service = TowerToHyperService::new(router.layer(Extension(Peer { certificate, opened })));
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}
