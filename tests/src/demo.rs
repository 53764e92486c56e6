//! `fairway-lab demo`.
use std::path::PathBuf;
use std::process::ExitCode;
pub(crate) async fn run(_keep: bool, _examples: Option<PathBuf>) -> anyhow::Result<ExitCode> { anyhow::bail!("not yet") }
