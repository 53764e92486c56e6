//! `fairway-bench`: what a Service costs, beside what it costs elsewhere and what no Service costs.

mod packet;
mod programming;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use fairway_bench::load::{Block, Serve};
use fairway_bench::plan::Choice;
use fairway_bench::report::Report;
use fairway_bench::run::Extra;
use fairway_bench::table::{self, Style};
use fairway_bench::{load, run};

/// Measures Services: of Fairway, of kube-proxy's rules, of a proxy in user space, and of nobody.
///
/// Every peer has a network of namespaces of its own, with the same pods, client and server. They take turns, round by
/// round; ratios are taken within a round.
#[derive(Parser)]
#[command(name = "fairway-bench", bin_name = "fairway bench", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure (needs root)
    Run(RunArgs),
    /// Show a report again
    Report(ReportArgs),
    /// What one packet costs in each kernel program (needs root)
    Packet(packet::Arguments),
    /// How long a change takes from its source to the first connection, and what the agent costs (needs root)
    Programming(programming::Arguments),
    /// One block of load, from here: prints what came of it as JSON
    #[command(hide = true)]
    Load(Block),
    /// The server of a pod
    #[command(hide = true)]
    Serve(Serve),
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    choice: Choice,
    /// Write the report there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// kube-proxy itself as a peer
    #[arg(long, value_name = "PATH", requires = "kube_apiserver")]
    kube_proxy: Option<PathBuf>,
    /// The API server that it asks
    #[arg(long, value_name = "PATH", requires = "kube_proxy")]
    kube_apiserver: Option<PathBuf>,
}

#[derive(Args)]
struct ReportArgs {
    /// What `run --json` wrote
    file: PathBuf,
    /// As tables of a document
    #[arg(long)]
    markdown: bool,
}

fn main() -> ExitCode {
    match start(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => measure(&arguments)?,
        Command::Report(arguments) => {
            let style = if arguments.markdown { Style::Markdown } else { Style::Text };
            anstream::print!("{}", table::tables(&Report::read(&arguments.file)?, style));
        }
        Command::Packet(arguments) => packet::run(&arguments)?,
        Command::Programming(arguments) => programming::run(&arguments)?,
        Command::Load(block) => println!("{}", serde_json::to_string(&load::run(&block)?)?),
        Command::Serve(serve) => load::serve(&serve).context("cannot serve")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(arguments: &RunArgs) -> anyhow::Result<()> {
    let report = run::run(&arguments.choice, &Extra { kube_proxy: no_kube_proxy(arguments) })?;
    anstream::print!("{}", table::tables(&report, Style::Text));
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    Ok(())
}

fn no_kube_proxy(arguments: &RunArgs) -> Option<String> {
    Some(match (&arguments.kube_proxy, &arguments.kube_apiserver) {
        (Some(_), Some(_)) => "not built yet".into(),
        _ => "needs --kube-proxy PATH and --kube-apiserver PATH".into(),
    })
}
