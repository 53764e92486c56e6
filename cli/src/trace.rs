//! `fairway trace`: decisions of the data path as they happen, one line each.

mod line;
mod summary;

use std::pin::pin;

use fairway_proto::node::{TraceEvent, TraceRequest};
use tonic::Streaming;

use crate::args::{self, Format, Global};
use crate::error::{Error, exit};
use crate::output::{Output, Reader};
use crate::source::{Agent, agent_refused};
use line::{Event, Lines};
use summary::Summary;

/// Why a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As many events as were asked for, or the time is over.
    Done,
    /// Ctrl-C.
    Interrupted,
    /// Nobody reads the output any more.
    ReaderGone,
    /// The agent closed the stream.
    AgentGone,
}

/// Traces until the count, the time, Ctrl-C or the reader ends it; returns the exit code.
pub(crate) async fn run(global: &Global, options: &args::Trace, output: &Output) -> Result<u8, Error> {
    if global.from == args::From::Kernel {
        return Err(Error::NeedsAgent("trace"));
    }
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let request = request(global, options);
    let open = async { Agent::connect(&global.socket).await?.trace(request).await };
    let stream = tokio::select! {
        stream = open => stream?,
        _ = &mut interrupt => return Ok(exit::INTERRUPTED),
    };
    output.note("tracing is on; Ctrl-C ends it");
    let mut summary = Summary::default();
    let end = tokio::select! {
        end = follow(stream, options.count, output, &mut summary) => end?,
        _ = &mut interrupt => End::Interrupted,
        () = expire(options.duration) => End::Done,
    };
    if end != End::ReaderGone {
        output.note(&summary.line());
    }
    match end {
        End::Interrupted => Ok(exit::INTERRUPTED),
        End::AgentGone => Err(Error::TraceEnded),
        End::Done if options.strict && summary.lost > 0 => Ok(exit::PARTIAL),
        End::Done if options.fail_on_drop && summary.losses() > 0 => Ok(exit::NEGATIVE),
        End::Done | End::ReaderGone => Ok(0),
    }
}

/// The filter, as the agent wants it; a pod or Service without a namespace is in `--namespace`, or `default`.
fn request(global: &Global, options: &args::Trace) -> TraceRequest {
    let namespace = global.namespace.as_deref().unwrap_or("default");
    let qualified = |name: &Option<String>| match name.as_deref() {
        Some(name) if name.contains('/') => name.to_owned(),
        Some(name) => format!("{namespace}/{name}"),
        None => String::new(),
    };
    let protocol = options.proto.map(fairway_proto::control::Protocol::from).unwrap_or_default();
    TraceRequest {
        pod: qualified(&options.pod),
        service: qualified(&options.svc),
        address: options.address.map(|address| address.to_string()).unwrap_or_default(),
        port: options.port.unwrap_or_default().into(),
        protocol: protocol.into(),
        drops: options.drops,
    }
}

async fn expire(duration: Option<std::time::Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

async fn follow(
    mut stream: Streaming<TraceEvent>,
    count: Option<u64>,
    output: &Output,
    summary: &mut Summary,
) -> Result<End, Error> {
    let mut lines = Lines::default();
    while let Some(event) = stream.message().await.map_err(agent_refused)? {
        let event = Event::from(event);
        summary.add(&event);
        let text = match output.format {
            Format::Table | Format::Wide => lines.text(&event, output.format == Format::Wide),
            Format::Json => serde_json::to_string(&event.document())? + "\n",
            Format::Yaml => format!("---\n{}", output.document(&event.document())?),
        };
        if output.write(&text)? == Reader::Gone {
            return Ok(End::ReaderGone);
        }
        if count.is_some_and(|count| summary.events >= count) {
            return Ok(End::Done);
        }
    }
    Ok(End::AgentGone)
}

#[cfg(test)]
mod tests;
