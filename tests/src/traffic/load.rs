//! A steady stream of questions, and a count of what came of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::BufReader;
use tokio::sync::oneshot;

use super::ask::{connect, line};
use super::{Failure, Kind, Query, ask};

/// What to ask, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// The question.
    pub query: Query,
    /// From the start of one question to that of the next.
    pub every: Duration,
    /// All on one TCP connection; otherwise each on a new one.
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
}

impl LoadReport {
    /// How many questions failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    fn add(&mut self, reply: Result<String, Failure>, taken: Duration) {
        self.asked += 1;
        match reply {
            Ok(name) => *self.answers.entry(name).or_default() += 1,
            Err(failure) => *self.failures.entry(format!("{failure:?}")).or_default() += 1,
        }
        let micros = taken.as_micros().try_into().unwrap_or(u64::MAX);
        self.slowest_micros = self.slowest_micros.max(micros);
    }
}

/// Asks until `stop` is sent or dropped.
pub(super) async fn load(load: Load, mut stop: oneshot::Receiver<()>) -> LoadReport {
    let mut report = LoadReport::default();
    let mut ticks = tokio::time::interval(load.every);
    let mut connection = None;
    loop {
        tokio::select! {
            _ = &mut stop => return report,
            _ = ticks.tick() => {}
        }
        let start = Instant::now();
        let reply = if load.one_connection && load.query.kind == Kind::Tcp {
            on_connection(&mut connection, load.query).await
        } else {
            ask(load.query).await.reply.map(|reply| reply.name)
        };
        report.add(reply, start.elapsed());
    }
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
