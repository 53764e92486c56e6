//! The workspace's binaries: building them, finding them, removing them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::sh;

/// Builds every binary of the workspace, the kernel programs within.
pub(crate) fn build(release: bool) -> Result<()> {
    let mut cargo = sh::cargo();
    // A build script that fails tells why in words: no backtrace, whatever the environment asks.
    cargo.args(["build", "--workspace", "--bins"]).env("RUST_LIB_BACKTRACE", "0");
    if release {
        cargo.arg("--release");
    }
    sh::run(&mut cargo)
}

/// Builds the binaries of these packages alone, optimised.
pub(crate) fn build_release_of(packages: &[&str]) -> Result<()> {
    let mut cargo = sh::cargo();
    cargo.args(["build", "--release"]).args(packages.iter().flat_map(|package| ["--package", package]));
    sh::run(&mut cargo)
}

/// Where the binaries are: beside this program's own profile folder.
pub(crate) fn folder(release: bool) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program's own path is unknown")?;
    let target = own.ancestors().nth(2).context("this program is not in a target folder")?;
    Ok(target.join(if release { "release" } else { "debug" }))
}

/// Removes what builds leave behind.
pub(crate) fn clean() -> Result<()> {
    sh::run(sh::cargo().arg("clean"))?;
    sh::run(sh::cargo().args(["clean", "--manifest-path", "ebpf/Cargo.toml"]))
}
