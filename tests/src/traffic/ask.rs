//! One question to a server, and what came of it.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::Reply;

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A new TCP connection and one line.
    Tcp,
    /// One datagram from a connected socket.
    Udp,
    /// One datagram from a socket that is not connected.
    UdpUnconnected,
    /// A new TCP connection and one HTTP request.
    Http,
    /// The first packet of an SCTP association, made by hand.
    Sctp,
    /// An ICMP echo request.
    Ping,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// How.
    pub kind: Kind,
    /// Whom.
    pub to: SocketAddr,
    /// How long to wait for the answer.
    pub timeout: Duration,
    /// The client's own port; 0: any.
    pub source_port: u16,
    /// The client's own address, of a packet made by hand.
    pub source: Option<IpAddr>,
    /// Bytes of payload, at least 1.
    pub size: usize,
}

impl Query {
    /// A question with a short payload from any port, for at most two seconds.
    #[must_use]
    pub fn new(kind: Kind, to: SocketAddr) -> Self {
        Self { kind, to, timeout: Duration::from_secs(2), source_port: 0, source: None, size: 1 }
    }
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The answer, or why there is none.
    pub reply: Result<Reply, Failure>,
    /// The client's own end.
    pub local: Option<SocketAddr>,
    /// Whom the socket says it talks to; without a connection, whom the answer came from.
    pub peer: Option<SocketAddr>,
    /// Microseconds until the end.
    pub micros: u64,
}

impl Outcome {
    /// The name of the server that answered.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.reply.as_ref().ok().map(|reply| reply.name.as_str())
    }
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// Connection refused, or port unreachable.
    Refused,
    /// The socket programs of the node said no.
    NotPermitted,
    /// Nothing came.
    TimedOut,
    /// Network or host unreachable.
    Unreachable,
    /// The connection was cut.
    Reset,
    /// Something else.
    Other(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Reset,
            _ => Self::Other(error.to_string()),
        }
    }
}

#[derive(Default)]
struct Ends {
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
}

/// Asks once.
pub async fn ask(query: Query) -> Outcome {
    let start = Instant::now();
    let mut ends = Ends::default();
    let asked = async {
        match query.kind {
            Kind::Tcp => tcp(query, &mut ends).await,
            Kind::Http => http(query, &mut ends).await,
            Kind::Udp => udp(query, &mut ends).await,
            Kind::UdpUnconnected => udp_unconnected(query, &mut ends).await,
            Kind::Sctp => super::raw::sctp(query).await,
            Kind::Ping => super::raw::ping(query).await,
        }
    };
    let reply = match tokio::time::timeout(query.timeout, asked).await {
        Ok(done) => done.map_err(Failure::from),
        Err(_) => Err(Failure::TimedOut),
    };
    let micros = start.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
    Outcome { reply, local: ends.local, peer: ends.peer, micros }
}

/// A TCP connection from a port of the caller's choice.
pub(super) async fn connect(to: SocketAddr, source_port: u16) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if source_port > 0 {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(any(to), source_port))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn tcp(query: Query, ends: &mut Ends) -> io::Result<Reply> {
    let stream = connect(query.to, query.source_port).await?;
    *ends = Ends { local: stream.local_addr().ok(), peer: stream.peer_addr().ok() };
    let mut stream = BufReader::new(stream);
    line(&mut stream, query.size).await
}

/// Sends one line of `size` bytes on a connection and reads the answer.
pub(super) async fn line(stream: &mut BufReader<TcpStream>, size: usize) -> io::Result<Reply> {
    let mut payload = vec![b'x'; size.saturating_sub(1)];
    payload.push(b'\n');
    stream.write_all(&payload).await?;
    let mut answer = Vec::new();
    if stream.read_until(b'\n', &mut answer).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}

async fn http(query: Query, ends: &mut Ends) -> io::Result<Reply> {
    let stream = connect(query.to, query.source_port).await?;
    *ends = Ends { local: stream.local_addr().ok(), peer: stream.peer_addr().ok() };
    match get(stream, query.to).await? {
        (200, body) => Ok(serde_json::from_str(&body)?),
        (status, body) => Err(io::Error::other(format!("HTTP status {status}: {body}"))),
    }
}

/// Status and body of an HTTP GET.
///
/// # Errors
/// No connection, or no HTTP answer.
pub async fn page(to: SocketAddr) -> io::Result<(u16, String)> {
    get(connect(to, 0).await?, to).await
}

async fn get(mut stream: TcpStream, to: SocketAddr) -> io::Result<(u16, String)> {
    let request = format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    match (status, answer.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
        _ => Err(io::Error::other(format!("not HTTP: {answer:?}"))),
    }
}

async fn udp(query: Query, ends: &mut Ends) -> io::Result<Reply> {
    let socket = UdpSocket::bind((any(query.to), query.source_port)).await?;
    socket.connect(query.to).await?;
    *ends = Ends { local: socket.local_addr().ok(), peer: socket.peer_addr().ok() };
    socket.send(&vec![b'x'; query.size]).await?;
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).await?;
    Ok(serde_json::from_slice(buffer.get(..length).unwrap_or_default())?)
}

async fn udp_unconnected(query: Query, ends: &mut Ends) -> io::Result<Reply> {
    let socket = UdpSocket::bind((any(query.to), query.source_port)).await?;
    ends.local = socket.local_addr().ok();
    socket.send_to(&vec![b'x'; query.size], query.to).await?;
    let mut buffer = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer).await?;
    ends.peer = Some(from);
    Ok(serde_json::from_slice(buffer.get(..length).unwrap_or_default())?)
}

/// The status of an HTTP GET, for callers outside of any runtime.
///
/// # Errors
/// No connection, or no HTTP answer.
pub fn http_status(to: SocketAddr, path: &str, timeout: Duration) -> io::Result<u16> {
    let mut stream = std::net::TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other(format!("not HTTP: {line:?}")))
}

/// The body of an HTTP GET, for callers outside of any runtime.
///
/// # Errors
/// No connection, or no HTTP answer.
pub fn http_text(to: SocketAddr, path: &str, timeout: Duration) -> io::Result<String> {
    let mut stream = std::net::TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    io::Read::read_to_string(&mut stream, &mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| io::Error::other(format!("not HTTP: {answer:?}")))
}

pub(super) fn any(to: SocketAddr) -> IpAddr {
    if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

#[cfg(test)]
mod tests {
    use super::super::{Listeners, serve};
    use super::*;

    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn every_kind_of_question_gets_the_name_and_both_addresses() {
        let (port, http) = (free_port(), free_port());
        let listeners = Listeners { tcp: vec![port], udp: vec![port], http: vec![http], linger: 0 };
        tokio::spawn(async move { serve("web", &listeners).await });
        for kind in [Kind::Tcp, Kind::Udp, Kind::UdpUnconnected, Kind::Http] {
            let to = SocketAddr::from(([127, 0, 0, 1], if kind == Kind::Http { http } else { port }));
            let query = Query { timeout: Duration::from_millis(300), ..Query::new(kind, to) };
            let answered = crate::eventually("an answer", || ask(query), |o| o.reply.is_ok()).await;
            let outcome = answered.unwrap();
            let reply = outcome.reply.unwrap();
            assert_eq!(reply.name, "web");
            assert_eq!(reply.client.port(), outcome.local.unwrap().port());
            assert_eq!(outcome.peer, Some(to));
        }
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_is_refused() {
        let to = SocketAddr::from(([127, 0, 0, 1], free_port()));
        assert_eq!(ask(Query::new(Kind::Tcp, to)).await.reply, Err(Failure::Refused));
        assert_eq!(ask(Query::new(Kind::Udp, to)).await.reply, Err(Failure::Refused));
    }
}
