//! The project's task runner: `./x TASK`, or `cargo xtask TASK`.

mod binaries;
mod dist;
mod ledger;
mod lint;
mod results;
mod setup;
mod sh;
mod suite;
mod vm;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::suite::{Cells, Suite};

/// Builds, checks, tests and shows Fairway.
#[derive(Parser)]
#[command(
    name = "x",
    bin_name = "./x",
    arg_required_else_help = true,
    after_help = "Examples:\n  ./x demo                 show it working on this machine, in network namespaces\n  ./x test                 run every test\n  ./x test --suite unit    run the tests that need no root"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the build needs and is missing, then build every binary
    Build {
        /// Optimised, for use on real nodes
        #[arg(long)]
        release: bool,
    },
    /// Build what is given to others: a tarball and Debian packages; prints their paths
    Dist {
        /// Where to; target/dist if not given
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Pack the programs in this folder, instead of building them
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
    },
    /// Check formatting, lints and (with cargo-deny) licences
    Lint,
    /// Run the tests; the last line is `test: N passed, N failed`
    Test {
        /// Only this suite (repeatable)
        #[arg(long = "suite", value_enum)]
        suites: Vec<Suite>,
        #[command(flatten)]
        cells: Cells,
    },
    /// Write docs/conformance.md: which test proves which statement
    Ledger {
        /// Write the same as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Write nothing, and fail when the page is out of date
        #[arg(long, conflicts_with = "json")]
        check: bool,
    },
    /// Show Fairway working in a small network of namespaces
    #[command(disable_help_flag = true)]
    Demo {
        /// Passed on to `fairway-lab demo`: see `./x demo --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run the network lab
    #[command(disable_help_flag = true)]
    Lab {
        /// Passed on to `fairway-lab`: see `./x lab --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run the kernel tests on Linux 6.1, in a virtual machine
    #[command(subcommand)]
    Vm(Vm),
    /// Measure Services beside those of others (run, compare, report), what one packet costs in each kernel program
    /// (packet), how long a change takes (programming), what a control plane with many agents costs (control), or how long
    /// a CNI plugin takes to add a pod (cni)
    #[command(disable_help_flag = true)]
    Bench {
        /// What to measure, or to do with reports: run, compare, report, packet, programming, control or cni
        #[arg(value_parser = ["run", "compare", "report", "packet", "programming", "control", "cni"])]
        what: String,
        /// Passed on: see `./x bench run --help`, `./x bench packet --help` and so on
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Remove what builds leave behind
    Clean,
}

#[derive(Subcommand)]
enum Vm {
    /// Install an emulator if there is none, fetch Debian's kernel, boot it with the tests of the data path; the last
    /// line is `vm: N passed, N failed`
    Test,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("x: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Build { release } => {
            setup::toolchain()?;
            binaries::build(release)?;
        }
        Task::Dist { out, programs } => dist::run(out.as_deref(), programs)?,
        Task::Lint => lint::run()?,
        Task::Test { suites, cells } => return suite::run(&suites, &cells),
        Task::Ledger { check: true, .. } => ledger::check()?,
        Task::Ledger { json, .. } => ledger::write(json.as_deref())?,
        Task::Demo { args } => lab(Some("demo"), args)?,
        Task::Lab { args } => lab(None, args)?,
        Task::Vm(Vm::Test) => return vm::test(),
        Task::Bench { what, args } => bench(&what, args)?,
        Task::Clean => binaries::clean()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Becomes the program that measures.
fn bench(what: &str, args: Vec<OsString>) -> Result<()> {
    setup::toolchain()?;
    let mut cargo = sh::cargo();
    if ["run", "compare", "report", "programming", "control"].contains(&what) {
        return services(what, args);
    }
    let (package, example) = match what {
        "packet" => {
            cargo.args(["run", "--quiet", "--package", "fairway-bench", "--", what]);
            return sh::exec(cargo.args(args));
        }
        _ => {
            setup::plugins()?;
            binaries::build(false)?;
            // The rest of the lab is not measured.
            binaries::build_release_of(&["fairway-agent", "fairway-cni"])?;
            cargo.env("FAIRWAY_LAB_PROGRAMS", binaries::folder(true)?);
            ("fairway-tests", "add_latency")
        }
    };
    sh::exec(cargo.args(["run", "--quiet", "--package", package, "--example", example, "--"]).args(args))
}

/// Becomes `fairway-bench`; what it measures is built optimised.
fn services(what: &str, args: Vec<OsString>) -> Result<()> {
    let program = binaries::folder(false)?.join("fairway-bench");
    let is_help = args.iter().any(|word| word == "--help" || word == "-h");
    if ["run", "programming", "control"].contains(&what) && !is_help {
        if what == "run" {
            setup::peers();
        }
        binaries::build(false)?;
        let all = ["fairway-control", "fairway-bench", "fairway-agent", "fairway-cni"];
        binaries::build_release_of(if what == "control" { &all[..2] } else { &all })?;
    } else {
        sh::run(sh::cargo().args(["build", "--quiet", "--package", "fairway-bench"]))?;
    }
    let mut bench = sh::command(program);
    sh::exec(bench.env("FAIRWAY_LAB_PROGRAMS", binaries::folder(true)?).arg(what).args(args))
}

/// Becomes `fairway-lab`, whose exit code is then this program's.
fn lab(command: Option<&str>, args: Vec<OsString>) -> Result<()> {
    setup::toolchain()?;
    if args.iter().any(|word| word.to_string_lossy().ends_with("containerd")) {
        setup::containerd()?;
    }
    binaries::build(false)?;
    sh::exec(sh::command(binaries::folder(false)?.join("fairway-lab")).args(command).args(args))
}
