//! The checks of style. Each runs even after another failed, and tells what repairs it.

use std::process::Command;

use anyhow::{Result, bail};
use xtask::bpf::program;

use crate::{ledger, setup, sh};

/// A file longer than this wants to become two.
const LONGEST_FILE: usize = 400;

/// Runs every check.
pub(crate) fn run() -> Result<()> {
    setup::toolchain()?;
    let checks = [
        check("formatting", cargo(&["fmt", "--all", "--check"]), "cargo fmt --all"),
        check("formatting (ebpf)", ebpf(&["fmt", "--check"]), "cargo fmt --manifest-path ebpf/Cargo.toml"),
        check(
            "clippy",
            clippy(&["--all-targets"]),
            "cargo clippy --workspace --all-targets --fix, or by hand",
        ),
        // `test = false` keeps these out of --all-targets.
        check(
            "clippy (tests as root)",
            clippy(&[
                "--test", "packet", "--test", "pods", "--test", "lab", "--test", "bench", "--test", "sim",
            ]),
            "see above",
        ),
        check_kernel_programs(),
        check_licences(),
        check_lengths(),
        verdict("conformance page", ledger::check().map_err(|error| format!("{error:#}"))),
    ];
    let failed = checks.iter().filter(|passed| !**passed).count();
    if failed > 0 { bail!("{failed} of {} checks failed", checks.len()) } else { Ok(()) }
}

fn check(name: &str, mut command: Command, repair: &str) -> bool {
    verdict(name, sh::run(&mut command).map_err(|_| repair.into()))
}

fn verdict(name: &str, result: Result<(), String>) -> bool {
    match &result {
        Ok(()) => sh::say(format_args!("lint: {name}: ok")),
        Err(repair) => sh::say(format_args!("lint: {name}: FAILED, to repair: {repair}")),
    }
    result.is_ok()
}

fn cargo(args: &[&str]) -> Command {
    let mut cargo = sh::cargo();
    cargo.args(args);
    cargo
}

fn ebpf(args: &[&str]) -> Command {
    let mut cargo = cargo(args);
    cargo.args(["--manifest-path", "ebpf/Cargo.toml"]);
    cargo
}

fn clippy(targets: &[&str]) -> Command {
    // The same features for all, so that nothing is checked twice.
    let mut clippy = cargo(&["clippy", "--quiet", "--workspace", "--features", "fairway-tests/simulation"]);
    clippy.args(targets).args(["--", "-D", "warnings"]);
    clippy
}

/// The kernel programs compile with Debian's compiler only, so it takes Debian's clippy.
fn check_kernel_programs() -> bool {
    let name = "clippy (ebpf)";
    let driver = std::path::Path::new("/usr/bin/cargo-clippy");
    if !driver.is_file() {
        sh::say(format_args!(
            "lint: {name}: skipped, Debian's clippy is not here: apt-get install rust-web-clippy"
        ));
        return true;
    }
    let mut clippy = sh::command(driver);
    clippy
        .args(["clippy", "--quiet", "--release", "--target", "bpfel-unknown-none", "--", "-D", "warnings"])
        .envs([("CARGO", "/usr/bin/cargo"), ("RUSTC", "/usr/bin/rustc"), ("RUSTC_BOOTSTRAP", "1")])
        .current_dir(sh::root().join("ebpf"));
    check(name, clippy, "see above")
}

fn check_licences() -> bool {
    let name = "licences and sources";
    if program("cargo-deny").is_none() {
        sh::say(format_args!(
            "lint: {name}: skipped, cargo-deny is not here: cargo install --locked cargo-deny"
        ));
        return true;
    }
    check(
        name,
        cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]),
        "see deny.toml",
    )
}

fn check_lengths() -> bool {
    let files =
        sh::stdout(sh::command("git").args(["ls-files", "*.rs"]).current_dir(sh::root())).unwrap_or_default();
    let long: Vec<&str> = files.lines().filter(|file| lines(file) > LONGEST_FILE).collect();
    let result = if long.is_empty() { Ok(()) } else { Err(format!("split {}", long.join(", "))) };
    verdict(&format!("files of at most {LONGEST_FILE} lines"), result)
}

fn lines(file: &str) -> usize {
    std::fs::read_to_string(sh::root().join(file)).map_or(0, |text| text.lines().count())
}
