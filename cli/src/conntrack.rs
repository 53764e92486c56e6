//! `conntrack`, `affinity` and `nat`.

mod filter;
mod group;
mod show;

use serde::Serialize;

use crate::args::conntrack::{AffinityCommand, ConntrackCommand, Filter, NatCommand};
use crate::args::{Format, Global};
use crate::error::{Error, exit};
use crate::list::{Connection, Translation};
use crate::output::{Object, Output, Row};
use crate::run::{print, select};
use crate::source::Source;
use filter::Matcher;

/// The connections that a filter and the namespace leave, sorted.
async fn filtered(global: &Global, source: &mut Source, filter: &Filter) -> Result<Vec<Connection>, Error> {
    let matcher = Matcher::new(global, filter)?;
    let mut connections = select(global, source.connections().await?);
    connections.retain(|connection| matcher.matches(connection));
    Ok(connections)
}

/// Runs a verb of `conntrack`; returns the exit code.
pub(crate) async fn run(global: &Global, command: &ConntrackCommand, output: &Output) -> Result<u8, Error> {
    if let ConntrackCommand::Flush { filter, all, .. } = command
        && filter.is_empty()
        && global.namespace.is_none()
        && !all
    {
        return Err(Error::FlushAll);
    }
    let mut source = Source::open(global).await?;
    match command {
        ConntrackCommand::List(filter) => {
            let connections = filtered(global, &mut source, filter).await?;
            output.write(&output.list(&connections)?)?;
        }
        ConntrackCommand::Get { source: from, destination, proto } => {
            let filter =
                Filter { src: Some(*from), dst: Some(*destination), proto: *proto, ..Filter::default() };
            let connections = filtered(global, &mut source, &filter).await?;
            if connections.is_empty() {
                output.note("no such connection");
                return Ok(exit::NOT_FOUND);
            }
            output.write(&show::connections(output, &connections)?)?;
        }
        ConntrackCommand::Count { by, filter } => {
            let connections = filtered(global, &mut source, filter).await?;
            match by {
                Some(by) => output.write(&output.list(&group::by(&connections, *by))?)?,
                None => output.write(&show::count(output, connections.len())?)?,
            };
        }
        ConntrackCommand::Top { by, limit } => {
            let connections = filtered(global, &mut source, &Filter::default()).await?;
            let capacities = source.status().await?.conntrack_capacities();
            let mut rows = group::top(&connections, *by, capacities);
            rows.truncate(*limit);
            output.write(&output.list(&rows)?)?;
        }
        ConntrackCommand::Flush { filter, dry_run, .. } => {
            let connections = filtered(global, &mut source, filter).await?;
            flush(&mut source, output, &connections, *dry_run).await?;
        }
    }
    Ok(0)
}

/// What `flush` did.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Flushed {
    ended: usize,
    dry_run: bool,
}

async fn flush(
    source: &mut Source,
    output: &Output,
    connections: &[Connection],
    dry_run: bool,
) -> Result<(), Error> {
    let ended = if dry_run { connections.len() } else { source.flush(connections).await? };
    let text = match output.format {
        Format::Table | Format::Wide if dry_run => {
            output.list(connections)? + &format!("{} would be ended\n", connection_count(ended))
        }
        Format::Table | Format::Wide => format!("{} ended\n", connection_count(ended)),
        Format::Json | Format::Yaml => {
            output.document(&Object::new("ConntrackFlush", &Flushed { ended, dry_run }))?
        }
    };
    output.write(&text)?;
    Ok(())
}

fn connection_count(count: usize) -> String {
    if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") }
}

/// Runs a verb of `affinity`.
pub(crate) async fn affinity(
    global: &Global,
    command: &AffinityCommand,
    output: &Output,
) -> Result<(), Error> {
    let AffinityCommand::List = command;
    print(global, output, Source::open(global).await?.affinities().await?)
}

/// Runs a verb of `nat`.
pub(crate) async fn nat(global: &Global, command: &NatCommand, output: &Output) -> Result<(), Error> {
    let mut source = Source::open(global).await?;
    let (NatCommand::List(filter) | NatCommand::Count(filter)) = command;
    let connections = filtered(global, &mut source, filter).await?;
    let translations: Vec<Translation> = connections.iter().filter_map(Translation::of).collect();
    let text = match command {
        NatCommand::List(_) => {
            let mut translations = translations;
            translations.sort_by(Translation::compare);
            output.list(&translations)?
        }
        NatCommand::Count(_) => {
            let ports = source.status().await?.nat_ports();
            output.list(&group::nat(&translations, ports))?
        }
    };
    output.write(&text)?;
    Ok(())
}
