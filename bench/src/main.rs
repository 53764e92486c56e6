//! `fairway-bench`: what a Service costs, beside what it costs elsewhere and what no Service costs.

mod control;
mod packet;
mod programming;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use fairway_bench::compare::{self, Broken, Condition};
use fairway_bench::load::{Block, Serve};
use fairway_bench::plan::Choice;
use fairway_bench::report::Report;
use fairway_bench::run::Extra;
use fairway_bench::table::{self, Style};
use fairway_bench::{html, load, run};

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
    Run(Box<RunArgs>),
    /// Compare two reports; exit code 1 when a --fail-if holds
    Compare(CompareArgs),
    /// Show a report again
    Report(ReportArgs),
    /// What one packet costs in each kernel program (needs root)
    Packet(packet::Arguments),
    /// How long a change takes from its source to the first connection, and what the agent costs (needs root)
    Programming(programming::Arguments),
    /// What a control plane costs with many agents, and how long a change takes to the last of them (needs root)
    Control(control::Arguments),
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
    /// And there, as one page with drawings
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// kube-proxy itself as a peer
    #[arg(long, value_name = "PATH", requires = "kube_apiserver")]
    kube_proxy: Option<PathBuf>,
    /// The API server that it asks
    #[arg(long, value_name = "PATH", requires = "kube_proxy")]
    kube_apiserver: Option<PathBuf>,
}

#[derive(Args)]
struct CompareArgs {
    /// What `run --json` wrote before
    before: PathBuf,
    /// And after
    after: PathBuf,
    /// Fail where this holds for the whole 95 % interval: [PEER:]WORKLOAD.METRIC, > or <, and a change in percent, such
    /// as 'connect.p99 > +5%'; the metric is p50, p90, p99, ops, cpu or ratio (to clean), the workload may be * (repeatable)
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Condition>,
}

#[derive(Args)]
struct ReportArgs {
    /// What `run --json` wrote
    file: PathBuf,
    /// As tables of a document
    #[arg(long)]
    markdown: bool,
    /// As one page with drawings, there
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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
        Command::Compare(arguments) => return compare(&arguments),
        Command::Report(arguments) => {
            let style = if arguments.markdown { Style::Markdown } else { Style::Text };
            let report = Report::read(&arguments.file)?;
            match &arguments.html {
                Some(path) => write_page(path, &report)?,
                None => anstream::print!("{}", table::tables(&report, style)),
            }
        }
        Command::Packet(arguments) => packet::run(&arguments)?,
        Command::Programming(arguments) => programming::run(&arguments)?,
        Command::Control(arguments) => control::run(&arguments)?,
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
    arguments.html.as_ref().map_or(Ok(()), |path| write_page(path, &report))
}

fn write_page(path: &Path, report: &Report) -> anyhow::Result<()> {
    std::fs::write(path, html::page(report)).with_context(|| format!("cannot write `{}`", path.display()))
}

fn compare(arguments: &CompareArgs) -> anyhow::Result<ExitCode> {
    let (before, after) = (Report::read(&arguments.before)?, Report::read(&arguments.after)?);
    anstream::print!("{}", compare::table(&before, &after));
    if let Some(condition) = compare::unused(&before, &after, &arguments.fail_if).first() {
        anyhow::bail!("no row of both reports is about `{condition}`");
    }
    let broken = compare::broken(&before, &after, &arguments.fail_if);
    for Broken { condition, peer, cell, change } in &broken {
        let [median, low, high] = [change.median, change.low, change.high].map(|share| share * 100.0);
        println!("{condition}: {peer}, {cell}: {median:+.1} % ({low:+.1} % to {high:+.1} %)");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn no_kube_proxy(arguments: &RunArgs) -> Option<String> {
    Some(match (&arguments.kube_proxy, &arguments.kube_apiserver) {
        (Some(_), Some(_)) => "not built yet".into(),
        _ => "needs --kube-proxy PATH and --kube-apiserver PATH".into(),
    })
}
