//! Commands that run inside the world.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use fairway_tests::lab::Place;
use fairway_tests::traffic::{Kind, Outcome, Query, ask, page, redis_command};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// Moves into the place and becomes the program; returns only when that fails.
pub(super) fn enter(netns: String, cgroup: String, command: &[OsString]) -> anyhow::Error {
    if let Err(error) = (Place { netns, cgroup }).enter() {
        return anyhow::Error::new(error).context("cannot enter the lab");
    }
    let (program, arguments) = match command.split_first() {
        Some(words) => words,
        None => return anyhow::anyhow!("no program"),
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    anyhow::Error::new(error).context(format!("cannot run `{}`", program.to_string_lossy()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
    UdpUnconnected,
    /// An answer of `serve` over HTTP.
    Http,
    /// Any page, printed as it is.
    Page,
    Redis,
}

#[derive(clap::Args)]
pub(super) struct RequestArguments {
    /// How to ask.
    protocol: Protocol,
    /// ADDRESS:PORT, or [ADDRESS]:PORT.
    address: SocketAddr,
    /// The Redis command.
    words: Vec<String>,
    /// Seconds to wait for each answer.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    timeout: f64,
    /// Ask so often, and sum up.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// The client's own port.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    source_port: u16,
    /// Bytes of payload.
    #[arg(long, default_value_t = 1)]
    size: usize,
    /// Ask until this many seconds have passed instead, one after the other.
    #[arg(long, value_name = "SECONDS", conflicts_with = "count")]
    load: Option<f64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn request(arguments: RequestArguments) -> anyhow::Result<ExitCode> {
    let kind = match arguments.protocol {
        Protocol::Tcp => Kind::Tcp,
        Protocol::Udp => Kind::Udp,
        Protocol::UdpUnconnected => Kind::UdpUnconnected,
        Protocol::Http => Kind::Http,
        Protocol::Page => {
            let page =
                tokio::time::timeout(Duration::from_secs_f64(arguments.timeout), page(arguments.address));
            let (status, body) = page.await.context("no answer")??;
            print!("{body}");
            return Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Protocol::Redis => {
            let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
            if words.is_empty() {
                bail!("no Redis command: try PING, or INCR visits");
            }
            println!("{}", redis_command(arguments.address, &words).await?.as_deref().unwrap_or("(nil)"));
            return Ok(ExitCode::SUCCESS);
        }
    };
    let timeout = Duration::try_from_secs_f64(arguments.timeout).context("--timeout")?;
    let query = Query {
        timeout,
        source_port: arguments.source_port,
        size: arguments.size,
        ..Query::new(kind, arguments.address)
    };
    let end = arguments.load.map(Duration::try_from_secs_f64).transpose().context("--load")?;
    let start = std::time::Instant::now();
    let (mut asked, mut answered) = (0_u64, std::collections::BTreeMap::<String, u64>::new());
    let mut failed = 0;
    while end.map_or(asked < arguments.count, |end| start.elapsed() < end) {
        let outcome = ask(query).await;
        asked += 1;
        let text = describe(&outcome);
        failed += u64::from(outcome.reply.is_err());
        *answered.entry(outcome.name().map_or_else(|| text.clone(), str::to_owned)).or_default() += 1;
        match (arguments.json, end) {
            (true, None) => println!("{}", serde_json::to_string(&outcome)?),
            (false, None) => println!("{text}"),
            (_, Some(_)) => {}
        }
    }
    if end.is_some() || asked > 1 {
        let sum = json!({"asked": asked, "failed": failed, "answers": answered});
        println!("{sum}");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(outcome: &Outcome) -> String {
    let taken = Duration::from_micros(outcome.micros);
    match &outcome.reply {
        Ok(reply) => format!("{} answered in {taken:.1?}; it sees {}", reply.name, reply.client),
        Err(failure) => format!("{failure:?} after {taken:.1?}"),
    }
}

#[derive(clap::Args)]
pub(super) struct FrontendArguments {
    /// The Redis server's ADDRESS:PORT.
    #[arg(long)]
    redis: SocketAddr,
    /// The HTTP port.
    #[arg(long, default_value_t = 8080)]
    http: u16,
}

/// Answers each request with the number of visits so far, or 503 while the store does not answer.
pub(super) async fn frontend(arguments: FrontendArguments) -> anyhow::Result<()> {
    let listener = TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, arguments.http)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let visits = redis_command(arguments.redis, &["INCR", "visits"]);
            let (status, body) = match tokio::time::timeout(Duration::from_secs(2), visits).await {
                Ok(Ok(count)) => ("200 OK", format!("visit {}\n", count.unwrap_or_default())),
                Ok(Err(error)) => ("503 Service Unavailable", format!("store: {error}\n")),
                Err(_) => ("503 Service Unavailable", "store: no answer\n".to_owned()),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await? > 0 && !line.trim().is_empty() {
                line.clear();
            }
            stream.write_all(answer.as_bytes()).await
        });
    }
}
