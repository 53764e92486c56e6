//! A server that answers each line, datagram or HTTP request with its name and the addresses it sees.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The server's name.
    pub name: String,
    /// The client as the server sees it; an IPv4 client is shown as such.
    pub client: SocketAddr,
    /// The server's own end of a connection; of a datagram only the port is told.
    pub server: SocketAddr,
}

/// Where a server listens.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Listeners {
    /// Answer each line on this TCP port; repeatable.
    #[arg(long, value_name = "PORT")]
    pub tcp: Vec<u16>,
    /// Answer each datagram on this UDP port; repeatable.
    #[arg(long, value_name = "PORT")]
    pub udp: Vec<u16>,
    /// Answer HTTP requests on this port; repeatable.
    #[arg(long, value_name = "PORT")]
    pub http: Vec<u16>,
    /// Go on for so many milliseconds after SIGTERM: Services need a moment to forget a backend.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub linger: u64,
}

/// Serves until SIGTERM, and a little longer.
///
/// # Errors
/// A port that cannot be bound.
pub async fn serve(name: &str, listeners: &Listeners) -> io::Result<()> {
    let name: Arc<str> = name.into();
    let mut tasks = tokio::task::JoinSet::new();
    for port in &listeners.tcp {
        tasks.spawn(accept(listen(*port).await?, name.clone(), lines));
    }
    for port in &listeners.http {
        tasks.spawn(accept(listen(*port).await?, name.clone(), http));
    }
    for port in &listeners.udp {
        tasks.spawn(datagrams(bind(*port).await?, name.clone()));
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        Some(done) = tasks.join_next() => done.map_err(io::Error::other)?,
        _ = terminate.recv() => {
            tokio::time::sleep(Duration::from_millis(listeners.linger)).await;
            Ok(())
        }
    }
}

/// Both families where the machine has IPv6.
pub(super) async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

async fn bind(port: u16) -> io::Result<UdpSocket> {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

async fn accept<F: Future<Output = io::Result<()>> + Send + 'static>(
    listener: TcpListener,
    name: Arc<str>,
    serve: fn(TcpStream, Arc<str>) -> F,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that ends early is its client's matter.
        tokio::spawn(serve(stream, name.clone()));
    }
}

async fn lines(stream: TcpStream, name: Arc<str>) -> io::Result<()> {
    let reply = reply(&name, stream.peer_addr()?, stream.local_addr()?)?;
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).await? > 0 {
        output.write_all(&reply).await?;
        line.clear();
    }
    Ok(())
}

async fn http(stream: TcpStream, name: Arc<str>) -> io::Result<()> {
    let body = reply(&name, stream.peer_addr()?, stream.local_addr()?)?;
    let (input, mut output) = stream.into_split();
    let mut lines = BufReader::new(input).lines();
    while let Some(line) = lines.next_line().await? {
        if line.is_empty() {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            );
            output.write_all(&[head.as_bytes(), &body].concat()).await?;
        }
    }
    Ok(())
}

async fn datagrams(socket: UdpSocket, name: Arc<str>) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        // An ICMP error about an earlier answer is no reason to stop.
        let Ok((_, client)) = socket.recv_from(&mut buffer).await else { continue };
        let reply = reply(&name, client, socket.local_addr()?)?;
        socket.send_to(&reply, client).await.ok();
    }
}

fn reply(name: &str, client: SocketAddr, server: SocketAddr) -> io::Result<Vec<u8>> {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let reply = Reply { name: name.into(), client: plain(client), server: plain(server) };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    Ok(line)
}
