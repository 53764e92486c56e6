//! What is given to others: a tarball, and Debian packages. The same sources, built by the same compiler in the same folder,
//! give the same bytes: times are those of the last commit, or SOURCE_DATE_EPOCH.

mod contents;
mod deb;
mod needs;
mod notices;
mod stage;
mod tarball;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{binaries, setup, sh};

/// What packages are made of.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// Where the binaries are.
    binaries: PathBuf,
    /// Seconds of the Unix epoch: the time of every file.
    epoch: u64,
    version: String,
    /// Debian's name of the processor.
    architecture: String,
    maintainer: String,
    /// Licences of the code of others in the binaries.
    notices: String,
}

/// Builds and packs, or only packs `programs`. Prints the paths of what was made, one a line.
pub(crate) fn run(out: Option<&Path>, programs: Option<PathBuf>) -> Result<()> {
    if xtask::bpf::program("dpkg-deb").is_none() {
        setup::apt::install(&["dpkg"], "dpkg-deb makes the packages")?;
    }
    let out = match out {
        Some(out) => std::path::absolute(out)?,
        None => sh::root().join("target/dist"),
    };
    let binaries = match programs {
        Some(programs) => std::path::absolute(programs)?,
        None => build()?,
    };
    let inputs = Inputs {
        binaries,
        epoch: epoch()?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        architecture: architecture()?.to_owned(),
        maintainer: maintainer(|name| std::env::var(name).ok()),
        notices: notices::collect()?,
    };
    for path in pack(&inputs, &out)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// The plugin runs wherever the container runtime runs, so it needs no library.
fn build() -> Result<PathBuf> {
    setup::toolchain()?;
    binaries::build_release_of(&["fairway-agent", "fairway-control", "fairway-cli"])?;
    let mut plugin = sh::cargo();
    plugin.args(["rustc", "--release", "--package", "fairway-cni", "--bin", "fairway-cni"]);
    sh::run(plugin.args(["--", "-C", "target-feature=+crt-static"]))?;
    binaries::folder(true)
}

/// Makes every file in `out`, and a list of their checksums.
fn pack(inputs: &Inputs, out: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(out).with_context(|| format!("`{}` cannot be made", out.display()))?;
    let mut made = vec![tarball::write(inputs, out)?];
    for package in contents::packages(inputs)? {
        made.push(deb::write(inputs, &package, out)?);
    }
    let names = made.iter().filter_map(|path| path.file_name());
    let sums = sh::stdout(sh::command("sha256sum").args(names).current_dir(out));
    let list = out.join("SHA256SUMS");
    std::fs::write(&list, sums.context("`sha256sum` failed")?)?;
    made.push(list);
    Ok(made)
}

fn epoch() -> Result<u64> {
    let git = || sh::stdout(sh::command("git").args(["log", "-1", "--format=%ct"]).current_dir(sh::root()));
    let text = std::env::var("SOURCE_DATE_EPOCH").ok().or_else(git).unwrap_or_default();
    let of = |text: &str| text.trim().parse().ok();
    of(&text).context("no time for the files: set SOURCE_DATE_EPOCH to seconds of the Unix epoch")
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no packages are made for `{other}`"),
    }
}

/// As Debian's own tools find it.
fn maintainer(env: impl Fn(&str) -> Option<String>) -> String {
    let name = env("DEBFULLNAME").unwrap_or_else(|| "Fairway".into());
    let address = env("DEBEMAIL").unwrap_or_else(|| "root@localhost".into());
    format!("{name} <{address}>")
}

/// A command whose output does not depend on the user's language, and whose archives have the time of `inputs`.
fn tool(inputs: &Inputs, program: &str) -> Command {
    let mut command = sh::command(program);
    command.env("LC_ALL", "C").env("SOURCE_DATE_EPOCH", inputs.epoch.to_string());
    command
}
