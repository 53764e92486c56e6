//! A client that stays in one place of the world and asks what it is told to: one JSON line each way.

use std::collections::HashMap;
use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};

use super::load::{Shared, load};
use super::{Load, LoadReport, Outcome, Query, ask};
use crate::lab::{Place, command};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Ask(Query),
    Start(Load),
    /// The load with this id.
    Stop(u64),
    /// What came so far of the load with this id.
    Look(u64),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Done {
    Ask(Outcome),
    Load(LoadReport),
}

/// Does what the lines on stdin say, until stdin ends: the program behind [`Runner`].
///
/// # Errors
/// A line that is not an order.
pub async fn run() -> io::Result<()> {
    let (answers, mut queue) = mpsc::unbounded_channel::<(u64, Done)>();
    let writer = tokio::spawn(async move {
        let mut output = tokio::io::stdout();
        while let Some(answer) = queue.recv().await {
            let line = serde_json::to_string(&answer)? + "\n";
            output.write_all(line.as_bytes()).await?;
            output.flush().await?;
        }
        io::Result::Ok(())
    });
    let mut loads = HashMap::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let (id, order): (u64, Order) = serde_json::from_str(&line)?;
        let answers = answers.clone();
        match order {
            Order::Ask(query) => {
                tokio::spawn(async move { answers.send((id, Done::Ask(ask(query).await))) });
            }
            Order::Start(what) => {
                let (stop, stopped) = oneshot::channel();
                let report = Shared::default();
                loads.insert(id, (stop, report.clone()));
                tokio::spawn(async move {
                    load(what, stopped, report.clone()).await;
                    answers.send((id, Done::Load(snapshot(&report))))
                });
            }
            Order::Look(load) => {
                let report = loads.get(&load).map(|(_, report)| snapshot(report)).unwrap_or_default();
                answers.send((id, Done::Load(report))).ok();
            }
            // Dropping the sender stops the load, which then answers under its own id.
            Order::Stop(load) => drop(loads.remove(&load)),
        }
    }
    drop((answers, loads));
    writer.await.map_err(io::Error::other)?
}

fn snapshot(report: &Shared) -> LoadReport {
    report.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Done>>>>;

/// A client in one place. Dropped, it ends.
#[derive(Debug)]
pub struct Runner {
    input: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
    _child: Child,
}

/// A load that runs.
#[derive(Debug)]
pub struct RunningLoad {
    id: u64,
    report: oneshot::Receiver<Done>,
}

impl Runner {
    /// Starts a client in `place`.
    ///
    /// # Errors
    /// The place is not there, or not root.
    pub fn start(place: &Place) -> io::Result<Self> {
        let mut command = Command::from(command(place, "fairway-lab")?);
        command.arg("runner").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the client has no pipes"));
        };
        let waiting = Waiting::default();
        let answered = waiting.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok((id, done)) = serde_json::from_str::<(u64, Done)>(&line) else { continue };
                if let Some(asker) = lock(&answered).remove(&id) {
                    asker.send(done).ok();
                }
            }
            // Whoever still waits learns that the client is gone.
            lock(&answered).clear();
        });
        Ok(Self { input: input.into(), waiting, next: AtomicU64::new(0), _child: child })
    }

    /// Asks once from there.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn ask(&self, query: Query) -> io::Result<Outcome> {
        let (_, answer) = self.order(&Order::Ask(query)).await?;
        match answer.await {
            Ok(Done::Ask(outcome)) => Ok(outcome),
            _ => Err(gone()),
        }
    }

    /// Starts to ask steadily.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn start_load(&self, load: Load) -> io::Result<RunningLoad> {
        let (id, report) = self.order(&Order::Start(load)).await?;
        Ok(RunningLoad { id, report })
    }

    /// What came so far of a load that runs.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn look(&self, load: &RunningLoad) -> io::Result<LoadReport> {
        let (_, answer) = self.order(&Order::Look(load.id)).await?;
        match answer.await {
            Ok(Done::Load(report)) => Ok(report),
            _ => Err(gone()),
        }
    }

    /// Ends a load and says what came of it.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn stop_load(&self, load: RunningLoad) -> io::Result<LoadReport> {
        self.order(&Order::Stop(load.id)).await?;
        match load.report.await {
            Ok(Done::Load(report)) => Ok(report),
            _ => Err(gone()),
        }
    }

    async fn order(&self, order: &Order) -> io::Result<(u64, oneshot::Receiver<Done>)> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        if !matches!(order, Order::Stop(_)) {
            lock(&self.waiting).insert(id, asker);
        }
        let line = serde_json::to_string(&(id, order))? + "\n";
        self.input.lock().await.write_all(line.as_bytes()).await?;
        Ok((id, answer))
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Done>>> {
    waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone: did its pod end?")
}
