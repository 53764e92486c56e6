//! Tests as rows of tables, for runners of their own: all rows share a world that takes long to build.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;

/// A name that says the behaviour, and what shows it in a world. The comment above a row has the statements' numbers.
pub type Trial<W> = (&'static str, for<'a> fn(&'a W) -> BoxFuture<'a, anyhow::Result<()>>);

/// How many rows run at once where they may.
const AT_ONCE: usize = 8;

/// The runner of a suite: answers `--list`, asks for root, and lets `run` run what the other arguments ask for.
pub fn runner<W, R>(suite: &str, rooms: &[&[Trial<W>]], run: impl FnOnce(Vec<String>) -> R) -> ExitCode
where
    R: Future<Output = anyhow::Result<Tally>>,
{
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        rooms.iter().flat_map(|room| room.iter()).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("the {suite} suite needs root for network namespaces: run it as root, or with sudo");
        return ExitCode::FAILURE;
    }
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(arguments))) {
        Ok(tally) => {
            tally.print(start.elapsed());
            if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What ran so far.
#[derive(Debug)]
pub struct Tally {
    words: Vec<String>,
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    /// Runs only what has all these words in its name.
    #[must_use]
    pub fn new(words: Vec<String>) -> Self {
        Self { words, passed: 0, failed: Vec::new() }
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed.len()
    }

    /// Whether a row of a table is asked for.
    #[must_use]
    pub fn wants<W>(&self, prefix: &str, room: &[Trial<W>]) -> bool {
        room.iter().any(|(name, _)| self.asked(&format!("{prefix}/{name}")))
    }

    fn asked(&self, name: &str) -> bool {
        self.words.iter().all(|word| name.contains(word.as_str()))
    }

    /// Runs the rows of a table that are asked for, and prints a line for each.
    pub async fn run<W>(&mut self, prefix: &str, world: &W, room: &[Trial<W>]) {
        for (name, test) in room {
            let name = format!("{prefix}/{name}");
            if !self.asked(&name) {
                continue;
            }
            let start = Instant::now();
            let result = test(world).await;
            self.note(name, result, start.elapsed());
        }
    }

    /// As [`Tally::run`], some rows at a time, for rows that share nothing and mostly wait.
    pub async fn run_together<W>(&mut self, prefix: &str, world: &W, room: &[Trial<W>]) {
        let asked = room.iter().map(|(name, test)| (format!("{prefix}/{name}"), test));
        let asked: Vec<_> = asked.filter(|(name, _)| self.asked(name)).collect();
        let running = asked.into_iter().map(|(name, test)| async move {
            let start = Instant::now();
            (name, test(world).await, start.elapsed())
        });
        let mut ended = futures::stream::iter(running).buffer_unordered(AT_ONCE);
        while let Some((name, result, taken)) = ended.next().await {
            self.note(name, result, taken);
        }
    }

    fn note(&mut self, name: String, result: anyhow::Result<()>, taken: Duration) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok ({taken:.1?})");
            }
            Err(error) => {
                println!("test {name} ... FAILED\n    {error:#}");
                self.failed.push(name);
            }
        }
    }

    /// Prints the summary that test runners print.
    pub fn print(&self, taken: Duration) {
        for name in &self.failed {
            println!("failed: {name}");
        }
        let (passed, failed) = (self.passed, self.failed());
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!("test result: {word}. {passed} passed; {failed} failed; finished in {taken:.1?}");
    }
}
