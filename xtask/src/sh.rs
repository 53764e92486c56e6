//! Running other programs.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Tells what happens next, one line.
pub(crate) fn say(text: impl std::fmt::Display) {
    eprintln!("x: {text}");
}

/// A command that starts in the caller's folder.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// The cargo that runs this program, started in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` tells this program about itself would make build scripts run again that look at it.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(root());
    cargo
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// Runs a command whose output is for the user.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("`{line}` does not start"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a command in silence; its last lines are shown when it fails.
pub(crate) fn run_quietly(command: &mut Command) -> Result<()> {
    let line = line(command);
    let output = command.output().with_context(|| format!("`{line}` does not start"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    for last in &lines[lines.len().saturating_sub(15)..] {
        eprintln!("   {last}");
    }
    bail!("`{line}` failed ({})", output.status)
}

/// What a command prints on its standard output, or nothing when it fails.
pub(crate) fn stdout(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Replaces this process.
pub(crate) fn exec(command: &mut Command) -> Result<()> {
    let never: Result<Infallible, _> = Err(command.exec());
    never.map(|_| ()).with_context(|| format!("`{}` does not start", line(command)))
}

/// Whether this process may install packages and load BPF programs.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}
