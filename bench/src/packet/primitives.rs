//! What the parts that the programs are made of cost on this machine: figures of two machines can be compared by them.

use anyhow::Result;
use fairway_common::harness::{KEYS, TIMES};

use super::cases::Load;
use super::harness::Harness;

/// Runs of a program, each of which does its thing [`TIMES`] times.
const RUNS: u32 = 2_000;
/// The program that does nothing as often.
const NOTHING: &str = "p_nothing";

/// The programs, as they are called in the object, and what one of their things costs: nanoseconds of each round.
pub(crate) type Primitives = Vec<(String, Vec<f64>)>;

/// Measures all of them on a packet that the node routes to another one.
pub(crate) fn measure(harness: &mut Harness, load: &Load, rounds: usize) -> Result<Primitives> {
    harness.fill(KEYS)?;
    let names = harness.names("p_").into_iter().filter(|name| name != NOTHING);
    let mut all: Primitives = names.map(|name| (name, Vec::new())).collect();
    for _ in 0..rounds {
        for (name, rounds) in &mut all {
            let [nothing, something] = [NOTHING, name].map(|name| harness.run_alone(name, load, RUNS));
            rounds.push((f64::from(something?) - f64::from(nothing?)) / f64::from(TIMES));
        }
    }
    Ok(all)
}

/// How a program's thing is called: `p_hash_hit` measures "hash hit".
pub(crate) fn case(name: &str) -> String {
    name.trim_start_matches("p_").replace('_', " ")
}
