//! Real traffic through two labs, one that translates at the sockets and one that translates packets alone: the matrix of
//! who reaches what by which address, and what happens when parts of Fairway stop.
//!
//! A runner of its own because all cells share the labs. `cargo test -p fairway-tests --test lab -- WORDS` runs those whose
//! name contains all words; `--list` prints the names.

mod behaviour;
mod matrix;
mod outage;
mod services;
mod settings;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use fairway_tests::lab::SocketLb;
use world::World;

/// What ran so far.
#[derive(Default)]
struct Tally {
    words: Vec<String>,
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    fn wants(&self, name: &str) -> bool {
        self.words.iter().all(|word| name.contains(word.as_str()))
    }

    /// Runs a test, if it is asked for, and prints its line.
    async fn run(&mut self, name: &str, test: impl Future<Output = anyhow::Result<()>>) {
        if !self.wants(name) {
            return;
        }
        let start = Instant::now();
        match test.await {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok ({:.1?})", start.elapsed());
            }
            Err(error) => {
                println!("test {name} ... FAILED\n    {error:#}");
                self.failed.push(name.into());
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words = arguments.iter().filter(|argument| !argument.starts_with('-')).cloned().collect();
    let tally = Tally { words, ..Tally::default() };
    if arguments.iter().any(|argument| argument == "--list") {
        matrix::names()
            .chain(behaviour::NAMES.map(String::from))
            .chain(settings::NAMES.map(String::from))
            .chain(outage::NAMES.map(String::from))
            .filter(|name| tally.wants(name))
            .for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("the lab suite needs root for network namespaces: run it as root, or with sudo");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(tally))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut tally: Tally) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let (on, off) = tokio::join!(World::up(SocketLb::All), World::up(SocketLb::Off));
    let worlds = [on?, off?];
    println!("two labs up in {:.1?}", start.elapsed());
    let mut cells = matrix::Summary::default();
    for world in &worlds {
        matrix::run(world, &tally, &mut cells).await?;
    }
    for world in &worlds {
        behaviour::run(world, &mut tally).await;
    }
    for world in &worlds {
        settings::run(world, &mut tally).await;
    }
    for world in &worlds {
        outage::run(world, &mut tally).await;
    }
    println!("\n{cells}");
    for name in &tally.failed {
        println!("failed: {name}");
    }
    let failed = tally.failed.len() + cells.failed;
    if failed > 0 {
        worlds.iter().try_for_each(World::keep_logs)?;
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let passed = tally.passed + cells.passed;
    println!("test result: {word}. {passed} passed; {failed} failed; finished in {:.1?}", start.elapsed());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
