//! A process of simulated agents: real streams, and nothing behind them.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use fairway_proto::control::subscribe_request::Body;
use fairway_proto::control::{Applied, Hello, Node, SubscribeRequest, Version};
use futures::{StreamExt, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::WatchStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};

use super::cluster::node;
use super::ledger::{Ledger, Received, Times, now};
use super::wire::{self, Head, RawCodec};

/// Agents of one process that connect and receive everything at the same time.
const AT_ONCE: usize = 64;
/// The largest response that is read, as in a real agent.
const LARGEST: usize = 64 << 20;
/// How long the last changes may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process is told when it starts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    /// The control plane.
    pub(super) url: String,
    /// The number of the first agent.
    pub(super) first: u32,
    /// How many there are.
    pub(super) agents: u32,
    /// Where it is noted when changes happen.
    pub(super) times: PathBuf,
}

/// What it is told later, a line each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Forget what was received.
    Begin,
    /// Say what was received of the changes from one to another, which is not one of them, as soon as all have come.
    End { first: u32, end: u32 },
}

/// What it says, a line each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Said {
    /// So many agents have received everything; the last one after so many seconds, in so many bytes.
    Joined { agents: u32, seconds: f64, bytes: u64 },
    /// It has forgotten.
    Begun,
    /// What was received.
    Received(Received),
    /// An agent has lost its stream, or never had one.
    Failed(String),
}

/// Carries the orders out until there is nobody who would give more.
pub(super) fn run(orders: &str) -> Result<()> {
    let orders: Orders = serde_json::from_str(orders)?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let ledger = Ledger::new(Times::open(&orders.times)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(orders, Arc::new(Mutex::new(ledger))))
}

type Shared = Arc<Mutex<Ledger>>;

fn locked(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(said: &Said) -> Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    Ok(io::stdout().write_all(&line)?)
}

async fn serve(orders: Orders, ledger: Shared) -> Result<()> {
    let (joined, mut joins) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    for number in orders.first..orders.first + orders.agents {
        let (url, ledger, gate, joined) = (orders.url.clone(), ledger.clone(), gate.clone(), joined.clone());
        tokio::spawn(async move {
            let Err(error) = agent(&url, number, &ledger, &gate, &joined).await;
            // Nobody listens any more: the process ends.
            let _ = say(&Said::Failed(format!("{}: {error:#}", node(number))));
        });
    }
    drop(joined);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut agents = 0;
    loop {
        tokio::select! {
            Some((seconds, bytes)) = joins.recv(), if agents < orders.agents => {
                agents += 1;
                say(&Said::Joined { agents, seconds, bytes })?;
            }
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                match serde_json::from_str(&line)? {
                    Order::Begin => {
                        locked(&ledger).clear();
                        say(&Said::Begun)?;
                    }
                    Order::End { first, end } => {
                        let until = Instant::now() + PATIENCE;
                        while !locked(&ledger).is_complete(first, end, orders.agents) && Instant::now() < until {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        let received = locked(&ledger).received(first, end);
                        say(&Said::Received(received))?;
                    }
                }
            }
        }
    }
}

/// One agent, for as long as its stream lives. Tells in how many seconds and bytes it has received everything.
async fn agent(
    url: &str,
    number: u32,
    ledger: &Shared,
    gate: &Semaphore,
    joined: &mpsc::UnboundedSender<(f64, u64)>,
) -> Result<std::convert::Infallible> {
    let turn = gate.acquire().await?;
    let start = Instant::now();
    let (answer, answers) = watch::channel(None);
    let mut responses = subscribe(url, number, answers).await?;
    let mut bytes = 0;
    loop {
        let response = next(&mut responses).await?;
        bytes += response.len() as u64;
        let head = wire::read(&response, |_| {}).context("that is no response")?;
        ensure!(head.snapshot || bytes > response.len() as u64, "the first response is no snapshot");
        if head.complete {
            answer.send_replace(Some(head.version));
            break;
        }
    }
    drop(turn);
    joined.send((start.elapsed().as_secs_f64(), bytes))?;
    loop {
        let response = next(&mut responses).await?;
        let at = now()?;
        let head = take(&response, at, ledger)?;
        if head.complete {
            answer.send_replace(Some(head.version));
        }
    }
}

/// Notes a response and the changes in it.
fn take(response: &Bytes, at: u64, ledger: &Shared) -> Result<Head> {
    let mut ledger = locked(ledger);
    ledger.response(response.len());
    let mut noted = Ok(());
    let head = wire::read(response, |change| {
        if noted.is_ok() {
            noted = ledger.receive(change, at);
        }
    });
    noted?;
    head.context("that is no response")
}

async fn next(responses: &mut Streaming<Bytes>) -> Result<Bytes> {
    responses.message().await?.context("the control plane ended the stream")
}

/// Opens a stream as a real agent does, and says Hello.
async fn subscribe(
    url: &str,
    number: u32,
    answers: watch::Receiver<Option<Version>>,
) -> Result<Streaming<Bytes>> {
    let channel = Endpoint::from_shared(url.to_owned())?
        .connect_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(30))
        .keep_alive_while_idle(true)
        .connect()
        .await?;
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(LARGEST);
    grpc.ready().await?;
    let node = Node { name: node(number), ..Node::default() };
    let hello = Body::Hello(Hello { node: Some(node), ..Hello::default() });
    let answers = WatchStream::from_changes(answers).map(|version| Body::Applied(Applied { version }));
    let requests = stream::once(async { hello }).chain(answers);
    let requests = requests.map(|body| SubscribeRequest { body: Some(body) });
    let path = PathAndQuery::from_static("/fairway.control.v1.Control/Subscribe");
    Ok(grpc.streaming(Request::new(requests), path, RawCodec).await?.into_inner())
}
