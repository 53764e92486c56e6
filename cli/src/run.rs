//! Does what a command asks for; returns the exit code.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use clap_complete::Shell;
use fairway_common::Reason;
use serde::Serialize;

use crate::args::{
    self, BackendCommand, Cli, Command, DropsCommand, EndpointCommand, Format, Global, ServiceCommand,
};
use crate::conntrack;
use crate::error::{Error, exit};
use crate::ipam;
use crate::list::{self, Explanation};
use crate::output::{Object, Output, Row};
use crate::source::Source;
use crate::trace;

/// Runs a command.
pub(crate) async fn run(cli: &Cli, output: &Output) -> Result<u8, Error> {
    let global = &cli.global;
    match &cli.command {
        Command::Status => {
            let status = Source::open(global).await?.status().await?;
            output.write(&status.render(output)?)?;
            return Ok(if status.is_healthy() { 0 } else { exit::NEGATIVE });
        }
        Command::Service(ServiceCommand::List { backends }) => {
            let frontends = select(global, Source::open(global).await?.frontends().await?);
            if *backends && matches!(output.format, Format::Table | Format::Wide) {
                output.write(&list::with_backends(output, &frontends))?;
            } else {
                output.write(&output.list(&frontends)?)?;
            }
        }
        Command::Backend(BackendCommand::List) => {
            print(global, output, Source::open(global).await?.backends().await?)?;
        }
        Command::Conntrack(command) => return conntrack::run(global, command, output).await,
        Command::Affinity(command) => conntrack::affinity(global, command, output).await?,
        Command::Nat(command) => conntrack::nat(global, command, output).await?,
        Command::Endpoint(EndpointCommand::List) => {
            print(global, output, Source::open(global).await?.endpoints().await?)?;
        }
        Command::Ipam(command) => return ipam::run(global, command, output).await,
        Command::Drops(args::Drops { command: Some(DropsCommand::Explain { reason }), .. }) => {
            explain(output, reason.as_deref())?;
        }
        Command::Drops(drops) => count_drops(global, output, drops.all).await?,
        Command::Trace(filter) => return trace::run(global, filter, output).await,
        Command::Bench { args } => return Err(bench(args)),
        Command::Version => version(output)?,
        Command::Completion { shell } => completion(output, *shell)?,
    }
    Ok(0)
}

/// Becomes the benchmark's program, which stands beside this one; returns only when it is not there.
fn bench(args: &[OsString]) -> Error {
    let own = std::env::current_exe().unwrap_or_default();
    let program = own.with_file_name("fairway-bench");
    let source = std::process::Command::new(&program).args(args).exec();
    Error::NoBench { program, source }
}

/// Sorts, and keeps what belongs to the namespace.
pub(crate) fn select<R: Row>(global: &Global, mut rows: Vec<R>) -> Vec<R> {
    if let Some(namespace) = &global.namespace {
        rows.retain(|row| row.in_namespace(namespace));
    }
    rows.sort_by(R::compare);
    rows
}

/// Writes what belongs to the namespace, sorted.
pub(crate) fn print<R: Row>(global: &Global, output: &Output, rows: Vec<R>) -> Result<(), Error> {
    output.write(&output.list(&select(global, rows))?)?;
    Ok(())
}

async fn count_drops(global: &Global, output: &Output, all: bool) -> Result<(), Error> {
    let mut drops = Source::open(global).await?.drops().await?;
    drops.counts.retain(|count| count.happened() && (all || count.is_loss()));
    print(global, output, drops.counts)?;
    if drops.events_lost > 0 {
        output.note(&format!("{} trace events found the ring full and were lost", drops.events_lost));
    }
    Ok(())
}

fn explain(output: &Output, reason: Option<&str>) -> Result<(), Error> {
    let Some(wanted) = reason else {
        let all: Vec<Explanation> = Reason::ALL.iter().copied().map(Explanation::from).collect();
        output.write(&output.list(&all)?)?;
        return Ok(());
    };
    let found = Reason::ALL.iter().find(|reason| reason.name().eq_ignore_ascii_case(wanted));
    let reason = found.ok_or_else(|| Error::NoSuchReason(wanted.to_owned()))?;
    let explanation = Explanation::from(*reason);
    let text = match output.format {
        Format::Table | Format::Wide => explanation.text(),
        Format::Json | Format::Yaml => output.document(&Object::new("ReasonExplanation", &explanation))?,
    };
    output.write(&text)?;
    Ok(())
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

fn version(output: &Output) -> Result<(), Error> {
    let version = Version { version: env!("CARGO_PKG_VERSION") };
    let text = match output.format {
        Format::Table | Format::Wide => format!("fairway {}\n", version.version),
        Format::Json | Format::Yaml => output.document(&Object::new("Version", &version))?,
    };
    output.write(&text)?;
    Ok(())
}

fn completion(output: &Output, shell: Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "fairway", &mut script);
    output.write(&String::from_utf8_lossy(&script))?;
    Ok(())
}
