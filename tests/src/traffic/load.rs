//! A steady stream of questions, and a count of what came of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::BufReader;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::ask::{any, connect, line};
use super::{Failure, Kind, Query, Reply, ask};

/// What to ask, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// The question.
    pub query: Query,
    /// From the start of one question to that of the next.
    pub every: Duration,
    /// All on one TCP connection, or one UDP socket; otherwise each on a new one.
    pub one_connection: bool,
}

/// What came of a load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Questions asked.
    pub asked: u64,
    /// Answers, by the server's name.
    pub answers: BTreeMap<String, u64>,
    /// Failures, by kind.
    pub failures: BTreeMap<String, u64>,
    /// The longest that a question took, in microseconds.
    pub slowest_micros: u64,
    /// What came of the last question: the server's name or the kind of failure.
    pub latest: String,
}

impl LoadReport {
    /// How many questions failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    fn add(&mut self, reply: Result<String, Failure>, taken: Duration) {
        self.asked += 1;
        let (counts, name) = match reply {
            Ok(name) => (&mut self.answers, name),
            Err(failure) => (&mut self.failures, format!("{failure:?}")),
        };
        *counts.entry(name.clone()).or_default() += 1;
        self.latest = name;
        let micros = taken.as_micros().try_into().unwrap_or(u64::MAX);
        self.slowest_micros = self.slowest_micros.max(micros);
    }
}

/// A report that others may look at.
pub(super) type Shared = Arc<Mutex<LoadReport>>;

/// Asks until `stop` is sent or dropped.
pub(super) async fn load(load: Load, mut stop: oneshot::Receiver<()>, report: Shared) {
    let mut ticks = tokio::time::interval(load.every);
    let (mut connection, mut socket) = (None, None);
    loop {
        tokio::select! {
            _ = &mut stop => return,
            _ = ticks.tick() => {}
        }
        let start = Instant::now();
        let reply = match load.query.kind {
            Kind::Tcp if load.one_connection => on_connection(&mut connection, load.query).await,
            Kind::Udp | Kind::UdpUnconnected if load.one_connection => {
                on_socket(&mut socket, load.query).await
            }
            _ => ask(load.query).await.reply.map(|reply| reply.name),
        };
        let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        report.add(reply, start.elapsed());
    }
}

/// Asks on the one socket. It is opened again only when the system has ended it.
async fn on_socket(socket: &mut Option<UdpSocket>, query: Query) -> Result<String, Failure> {
    let asked = tokio::time::timeout(query.timeout, exchange(socket, query)).await;
    let reply = asked.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    // The second one is what a program sees that did not look at the first: the socket has no peer any more.
    let ended = |error: &std::io::Error| {
        error.kind() == std::io::ErrorKind::ConnectionAborted
            || error.raw_os_error() == Some(libc::EDESTADDRREQ)
    };
    if reply.as_ref().is_err_and(ended) {
        *socket = None;
    }
    reply.map_err(Failure::from)
}

async fn exchange(socket: &mut Option<UdpSocket>, query: Query) -> std::io::Result<String> {
    let connected = query.kind == Kind::Udp;
    if socket.is_none() {
        let new = UdpSocket::bind((any(query.to), query.source_port)).await?;
        if connected {
            new.connect(query.to).await?;
        }
        *socket = Some(new);
    }
    let Some(socket) = socket else { return Err(std::io::ErrorKind::NotConnected.into()) };
    let mut buffer = [0; 2048];
    // Answers that came too late for their own question.
    while socket.try_recv(&mut buffer).is_ok() {}
    let payload = vec![b'x'; query.size];
    if connected {
        socket.send(&payload).await?;
    } else {
        socket.send_to(&payload, query.to).await?;
    }
    let length = socket.recv(&mut buffer).await?;
    let reply: Reply = serde_json::from_slice(buffer.get(..length).unwrap_or_default())?;
    Ok(reply.name)
}

/// Asks on the one connection. One that breaks is a failure, and is not made again.
async fn on_connection(
    connection: &mut Option<Result<BufReader<tokio::net::TcpStream>, Failure>>,
    query: Query,
) -> Result<String, Failure> {
    if connection.is_none() {
        let made = tokio::time::timeout(query.timeout, connect(query.to, query.source_port)).await;
        *connection = Some(match made {
            Ok(made) => made.map(BufReader::new).map_err(Failure::from),
            Err(_) => Err(Failure::TimedOut),
        });
    }
    match connection {
        Some(Ok(stream)) => match tokio::time::timeout(query.timeout, line(stream, query.size)).await {
            Ok(reply) => Ok(reply.map_err(Failure::from)?.name),
            Err(_) => Err(Failure::TimedOut),
        },
        Some(Err(failure)) => Err(failure.clone()),
        None => Err(Failure::Reset),
    }
}
