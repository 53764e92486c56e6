//! The test suites: which there are, running them, adding them up.

mod output;
mod tally;

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use self::output::Output;
use self::tally::Tally;
use crate::results::{Results, Run};
use crate::{binaries, setup, sh};

/// The names of all suites.
pub(crate) const NAMES: [&str; 10] =
    ["unit", "packet", "kubernetes", "lab", "faults", "networks", "cni", "bench", "sim", "matrix"];

/// A set of tests that run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// What needs no kernel: every crate's own tests
    Unit,
    /// The real kernel programs, packet by packet
    Packet,
    /// The control plane and agents at an API server of Kubernetes
    Kubernetes,
    /// The whole of Fairway in a network of namespaces
    Lab,
    /// What goes wrong around agents: no client may notice
    Faults,
    /// Pods of three nodes, natively routed and in tunnels
    Networks,
    /// The network plugin, called by containerd on every node of a network of namespaces
    Cni,
    /// A short run of the benchmark, which says nothing about speed
    Bench,
    /// The stream between control planes and agents, with time, network and crashes as thousands of seeds draw them
    Sim,
    /// Who reaches what by which address, in a network of namespaces: a table of cells
    Matrix,
}

/// Who serves the cells of the matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    #[default]
    Fairway,
    /// The kernel, by the rules that kube-proxy writes in its nftables mode
    Nftables,
}

/// Which cells of the matrix, and of whom.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Cells {
    /// Of the matrix, only this IP family
    #[arg(long, value_parser = ["ipv4", "ipv6"])]
    family: Option<String>,
    /// Of the matrix, only this protocol
    #[arg(long, value_parser = ["tcp", "udp", "sctp"])]
    proto: Option<String>,
    /// Who serves the cells of the matrix
    #[arg(long, value_enum, default_value_t)]
    peer: Peer,
    /// Of the matrix: how packets reach other nodes' pods
    #[arg(long, value_parser = ["native", "vxlan"])]
    routing: Option<String>,
    /// All cells of the matrix, instead of those that differ from one another the most; of the suite `cni`, the long random
    /// sequence
    #[arg(long)]
    full: bool,
}

impl Cells {
    fn args(&self) -> Vec<&str> {
        let family = self.family.iter().flat_map(|family| ["--family", family]);
        let proto = self.proto.iter().flat_map(|proto| ["--proto", proto]);
        let full = self.full.then_some("--full");
        let peer = match self.peer {
            Peer::Fairway => None,
            Peer::Nftables => Some(["--peer", "nftables"]),
        };
        let peer = peer.into_iter().flatten();
        let routing = self.routing.iter().flat_map(|routing| ["--routing", routing]);
        ["--", "--matrix"]
            .into_iter()
            .chain(peer)
            .chain(routing)
            .chain(family)
            .chain(proto)
            .chain(full)
            .collect()
    }

    /// The short form of the matrix against kube-proxy: datagrams that nobody answers would make it long.
    fn short_peer() -> Self {
        Self { peer: Peer::Nftables, proto: Some("tcp".into()), ..Self::default() }
    }

    /// The short form of the matrix with tunnels between the nodes.
    fn short_tunnels() -> Self {
        Self { routing: Some("vxlan".into()), proto: Some("tcp".into()), ..Self::default() }
    }

    /// What the suite is called in messages.
    fn name_of(&self, suite: Suite) -> String {
        let of = match (suite, self.peer, &self.routing) {
            (Suite::Matrix, Peer::Nftables, _) => " (peer nftables)".into(),
            (Suite::Matrix, _, Some(routing)) => format!(" ({routing})"),
            _ => String::new(),
        };
        suite.name().to_owned() + &of
    }

    /// Installs what a peer is made of.
    fn install(&self) -> Result<()> {
        if self.peer == Peer::Nftables {
            setup::apt::install(&["nftables"], "the matrix's peer is a set of its rules")?;
        }
        Ok(())
    }

    /// A part of the matrix says nothing about the rest, and a peer nothing about Fairway.
    fn is_whole(&self) -> bool {
        let parts = [&self.proto, &self.family, &self.routing];
        parts.iter().all(|part| part.is_none()) && self.peer == Peer::Fairway
    }
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Packet => "packet",
            Self::Kubernetes => "kubernetes",
            Self::Lab => "lab",
            Self::Faults => "faults",
            Self::Networks => "networks",
            Self::Cni => "cni",
            Self::Bench => "bench",
            Self::Sim => "sim",
            Self::Matrix => "matrix",
        }
    }

    fn needs_root(self) -> bool {
        !matches!(self, Self::Unit | Self::Sim)
    }

    /// Installs what it cannot run without.
    fn install(self) -> Result<()> {
        match self {
            Self::Cni => setup::containerd().and_then(|()| setup::podman()),
            Self::Bench => setup::apt::install(&["nftables"], "the benchmark's peer is a set of its rules"),
            Self::Faults => setup::apt::install(&["libfaketime"], "clocks jump that are no other process's"),
            _ => Ok(()),
        }
    }

    /// Arguments of `cargo test`. Targets that need root say `test = false` in their Cargo.toml, so that the plain
    /// `cargo test` leaves them out.
    fn cargo_args(self) -> &'static [&'static str] {
        match self {
            Self::Unit => &["--workspace"],
            Self::Packet => &[
                "--package",
                "fairway-datapath",
                "--test",
                "packet",
                "--test",
                "kernel",
                "--test",
                "verifier",
            ],
            Self::Lab => &[
                "--package",
                "fairway-agent",
                "--test",
                "pods",
                "--package",
                "fairway-tests",
                "--test",
                "lab",
            ],
            Self::Kubernetes => &["--package", "fairway-tests", "--test", "kubernetes"],
            Self::Faults => &["--package", "fairway-tests", "--test", "faults"],
            Self::Networks => &["--package", "fairway-tests", "--test", "networks"],
            Self::Cni => &["--package", "fairway-tests", "--test", "cni"],
            Self::Bench => &["--package", "fairway-bench", "--test", "bench"],
            Self::Sim => &["--package", "fairway-tests", "--features", "simulation", "--test", "sim"],
            Self::Matrix => &["--package", "fairway-tests", "--test", "lab"],
        }
    }
}

/// Runs the suites, all of them when none is named. The total is the last line, also when tests failed.
pub(crate) fn run(suites: &[Suite], cells: &Cells) -> Result<ExitCode> {
    let all = suites.is_empty();
    let suites = if all { Suite::value_variants() } else { suites };
    if !sh::is_root() && suites.iter().any(|suite| suite.needs_root()) {
        bail!(
            "all suites but `unit` and `sim` load BPF programs and need root: run this as root, or `./x test --suite unit`"
        );
    }
    setup::toolchain()?;
    cells.install()?;
    binaries::build(false)?;
    let mut runs: Vec<(Suite, Cells)> = suites.iter().map(|suite| (*suite, cells.clone())).collect();
    if all && cells.peer == Peer::Fairway {
        runs.push((Suite::Matrix, Cells::short_tunnels()));
        let peer = Cells::short_peer();
        match peer.install() {
            Ok(()) => runs.push((Suite::Matrix, peer)),
            Err(error) => sh::say(format_args!("the matrix's peer is left out: {error:#}")),
        }
    }
    let mut total = Tally::default();
    for (suite, cells) in runs {
        let mut run = Run::start();
        total += run_one(suite, &cells, &mut run)?;
        run.end();
        sh::say(format_args!("suite {} took {} s", cells.name_of(suite), run.seconds));
        if suite != Suite::Matrix || cells.is_whole() {
            // Read again each time: another run may have ended meanwhile.
            let mut results = Results::load()?.unwrap_or_default();
            results.suites.insert(suite.name().into(), run);
            results.save()?;
        }
    }
    println!("test: {total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one suite and shows what it prints. One that breaks, or runs nothing, counts as a failed test.
fn run_one(suite: Suite, cells: &Cells, run: &mut Run) -> Result<Tally> {
    let name = cells.name_of(suite);
    sh::say(format_args!("suite {name}"));
    if let Err(error) = suite.install() {
        sh::say(format_args!("suite {name} cannot run: {error:#}"));
        return Ok(Tally { failed: 1, ..Tally::default() });
    }
    let mut cargo = sh::cargo();
    cargo.args(["test", "--no-fail-fast"]).args(suite.cargo_args());
    match suite {
        Suite::Matrix => drop(cargo.args(cells.args())),
        Suite::Cni if cells.full => drop(cargo.args(["--", "--full"])),
        _ => {}
    }
    let mut output = Output::default();
    let (mut tally, success) = read(&mut cargo, |line| !output.line(line) || suite != Suite::Unit)?;
    run.tests = output.tests;
    if tally.passed + tally.failed == 0 {
        sh::say(format_args!("suite {name} ran no test"));
        tally.failed = 1;
    } else if !success && tally.failed == 0 {
        sh::say(format_args!("suite {name} broke off before its summary"));
        tally.failed = 1;
    }
    Ok(tally)
}

/// Passes the runner's lines on, those that `shown` wants to be seen, and adds its summaries up.
pub(crate) fn read(runner: &mut Command, mut shown: impl FnMut(&str) -> bool) -> Result<(Tally, bool)> {
    // One pipe for both: cargo says on its standard error which program prints on the standard output.
    let (lines, output) = std::io::pipe()?;
    let mut child = runner
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("the tests' runner does not start")?;
    // The command holds the pipe's other end.
    runner.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tally = Tally::default();
    for line in BufReader::new(lines).split(b'\n') {
        let line = line.context("the runner's output cannot be read")?;
        let line = String::from_utf8_lossy(&line);
        if shown(&line) {
            println!("{line}");
        }
        if let Some(summary) = Tally::of_summary(&line) {
            tally += summary;
        }
    }
    let status = child.wait().context("the runner is lost")?;
    Ok((tally, status.success()))
}
