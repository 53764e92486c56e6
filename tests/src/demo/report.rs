//! One line for each step, as it ends.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;

/// Prints steps and counts them.
pub(super) struct Report {
    passed: usize,
    failed: usize,
    colour: bool,
}

impl Report {
    pub(super) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { passed: 0, failed: 0, colour }
    }

    /// A line that is no check. A closed pipe is the reader's wish.
    pub(super) fn say(&self, text: &str) {
        writeln!(std::io::stdout(), "{text}").ok();
    }

    /// Runs one check; its result says who answered.
    pub(super) async fn step(&mut self, what: &str, check: impl Future<Output = anyhow::Result<String>>) {
        let waiting = tokio::spawn(spin(what.to_owned()));
        let result = check.await;
        waiting.abort();
        // The spinner's line is cleared when its task has let go of it.
        waiting.await.ok();
        let (mark, text) = match &result {
            Ok(answer) => ("√", answer.clone()),
            Err(error) => ("×", format!("{error:#}")),
        };
        self.passed += usize::from(result.is_ok());
        self.failed += usize::from(result.is_err());
        let line = match (self.colour, result.is_ok()) {
            (true, true) => format!("{} {what}: {}", mark.green(), text.dimmed()),
            (true, false) => format!("{} {what}: {}", mark.red(), text.red()),
            (false, true) => format!("OK   {what}: {text}"),
            (false, false) => format!("FAIL {what}: {text}"),
        };
        self.say(&line);
    }

    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// Prints the last line.
    pub(super) fn finish(self) -> ExitCode {
        self.say(&format!("demo: {} checks passed, {} failed", self.passed, self.failed));
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Shows on a terminal what takes long.
async fn spin(what: String) {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.set_style(ProgressStyle::default_spinner());
    let bar = bar.with_finish(indicatif::ProgressFinish::AndClear);
    loop {
        bar.tick();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
