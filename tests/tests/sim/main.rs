//! The stream between control planes and agents, simulated: the real server and the real agent, with time and network
//! under the test's control (turmoil), and faults that a seed draws. `./x test --suite sim`.
//!
//! The seed decides which faults there are, when, and how long each message takes. What it does not decide: in which order
//! `tokio::select!` looks at what is ready at one moment. With `RUSTFLAGS='--cfg tokio_unstable'` it decides that too.

mod agent;
mod faults;
mod net;
mod reader;
mod replica;
mod run;
mod source;
#[expect(clippy::unwrap_used, reason = "shared with the agent's own tests")]
#[path = "../../../agent/src/sync/tests/tables.rs"]
mod tables;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;

const NAME: &str = "every_run_ends_with_the_sources_state_and_no_other_state_is_ever_served";
/// Failures that are told.
const TOLD: usize = 3;

/// Runs simulations.
#[derive(Parser)]
struct Line {
    /// How many
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this one, and say what happens in it
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// How often each is run
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// Name the test and exit
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let line = Line::parse();
    if line.list {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let start = Instant::now();
    let (from, seeds) = line.seed.map_or((line.from, line.seeds), |seed| (seed, 1));
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let sum = Mutex::new(run::Sum::default());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seeds * line.times || failures.lock().is_ok_and(|all| all.len() >= TOLD) {
                return;
            }
            let seed = from + number / line.times;
            match run::run(seed, line.seed.is_some()) {
                Ok(done) => sum.lock().unwrap_or_else(PoisonError::into_inner).add(&done),
                Err(error) => {
                    failures.lock().unwrap_or_else(PoisonError::into_inner).push((seed, error));
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{sum}, {:.1} s", start.elapsed().as_secs_f64());
    for (seed, error) in &failures {
        eprintln!(
            "seed {seed}: {error:#}\n  to repeat it: cargo test -p fairway-tests --features simulation --test sim -- \
             --seed {seed} --times 20"
        );
    }
    let failed = usize::from(!failures.is_empty());
    println!("test {NAME} ... {}", if failed == 0 { "ok" } else { "FAILED" });
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {} passed; {failed} failed; 0 ignored", 1 - failed);
    ExitCode::from(u8::from(failed > 0))
}
