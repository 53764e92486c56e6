//! The test suites: which there are, running them, adding them up.

mod tally;

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use self::tally::Tally;
use crate::{binaries, setup, sh};

/// A set of tests that run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// What needs no kernel: every crate's own tests
    Unit,
    /// The real kernel programs, packet by packet
    Packet,
    /// The whole of Fairway in a network of namespaces
    Lab,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Packet => "packet",
            Self::Lab => "lab",
        }
    }

    fn needs_root(self) -> bool {
        self != Self::Unit
    }

    /// Arguments of `cargo test`. Targets that need root say `test = false` in their Cargo.toml, so that the plain
    /// `cargo test` leaves them out.
    fn cargo_args(self) -> &'static [&'static str] {
        match self {
            Self::Unit => &["--quiet", "--workspace"],
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
        }
    }
}

/// Runs the suites, all of them when none is named. The total is the last line, also when tests failed.
pub(crate) fn run(suites: &[Suite]) -> Result<ExitCode> {
    let suites = if suites.is_empty() { Suite::value_variants() } else { suites };
    if !sh::is_root() && suites.iter().any(|suite| suite.needs_root()) {
        bail!(
            "the suites `packet` and `lab` load BPF programs and need root; `./x test --suite unit` does not"
        );
    }
    setup::toolchain()?;
    binaries::build(false)?;
    let mut total = Tally::default();
    for suite in suites {
        total += run_one(*suite)?;
    }
    println!("test: {total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one suite and shows what it prints. One that breaks, or runs nothing, counts as a failed test.
fn run_one(suite: Suite) -> Result<Tally> {
    let name = suite.name();
    sh::say(format_args!("suite {name}"));
    let mut cargo = sh::cargo();
    cargo.args(["test", "--no-fail-fast"]).args(suite.cargo_args());
    let (mut tally, success) = read(&mut cargo, |_| {})?;
    if tally.passed + tally.failed == 0 {
        sh::say(format_args!("suite {name} ran no test"));
        tally.failed = 1;
    } else if !success && tally.failed == 0 {
        sh::say(format_args!("suite {name} broke off before its summary"));
        tally.failed = 1;
    }
    Ok(tally)
}

/// Passes the runner's lines on, shows them to `seen`, and adds its summaries up.
pub(crate) fn read(runner: &mut Command, mut seen: impl FnMut(&str)) -> Result<(Tally, bool)> {
    let mut child = runner.stdout(Stdio::piped()).spawn().context("the tests' runner does not start")?;
    let stdout = child.stdout.take().context("the tests' runner has no standard output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("the runner's output cannot be read")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        seen(&line);
        if let Some(summary) = Tally::of_summary(&line) {
            tally += summary;
        }
    }
    let status = child.wait().context("the runner is lost")?;
    Ok((tally, status.success()))
}
