//! Debian packages.

use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::bpf::program;

use crate::sh;

/// Installs those of the packages that are not here. Package lists are fetched when they lack one,
/// and once more when the installation fails, since stale lists name files that are gone.
pub(crate) fn install(packages: &[&str], why: &str) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if program("apt-get").is_none() {
        bail!("missing: {names} ({why}), and there is no apt-get here: install their like by hand");
    }
    if !sh::is_root() {
        bail!(
            "missing: {names} ({why}): run `sudo apt-get install --no-install-recommends {names}`, then this again"
        );
    }
    sh::say(format_args!("installing {names}: {why}"));
    if !missing.iter().all(|package| is_offered(package)) {
        update()?;
    }
    if let Some(unknown) = missing.iter().find(|package| !is_offered(package)) {
        bail!(
            "Debian's lists have no `{unknown}`: does apt have the security archive (bookworm-security) as a source?"
        );
    }
    if get_install(packages).is_err() {
        sh::say("apt-get failed: fetching the package lists and trying once more");
        update()?;
        get_install(packages).with_context(|| format!("could not install {names}"))?;
    }
    Ok(())
}

fn update() -> Result<()> {
    sh::run_quietly(get().args(["update", "-q"])).context("could not fetch Debian's package lists")
}

/// All of a set at once, so that apt keeps their versions equal.
fn get_install(packages: &[&str]) -> Result<()> {
    sh::run_quietly(get().args(["install", "-y", "-q", "--no-install-recommends"]).args(packages))
}

fn get() -> Command {
    let mut get = sh::command("apt-get");
    // Offline, systemctl starts nothing: no package is installed here for a service of the machine.
    get.env("DEBIAN_FRONTEND", "noninteractive")
        .env("SYSTEMD_OFFLINE", "1")
        .args(["-o", "DPkg::Lock::Timeout=300"]);
    get
}

fn is_installed(package: &str) -> bool {
    sh::stdout(sh::command("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_some_and(|status| status == "installed")
}

fn is_offered(package: &str) -> bool {
    sh::stdout(sh::command("apt-cache").args(["policy", package])).is_some_and(|policy| {
        policy.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)"))
    })
}
