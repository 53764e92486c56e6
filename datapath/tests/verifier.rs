//! What the verifier says of every program: a table that shows growth, and the limits that it must stay below.

#[path = "verifier/log.rs"]
mod log;

use fairway_datapath::PROGRAMS;

use crate::log::{Pins, load, stack, verdict};

/// Most instructions that the verifier walks.
const INSTRUCTIONS: u32 = 1_000_000;
/// Bytes of stack that a chain of calls may take.
const STACK: u32 = 512;

/// The number behind a word of the log.
fn number(log: &str, word: &str) -> u32 {
    let (_, rest) = log.split_once(word).unwrap_or_else(|| panic!("no `{word}` in {log}"));
    rest.split(|c: char| !c.is_ascii_digit()).find(|text| !text.is_empty()).unwrap().parse().unwrap()
}

#[test]
fn every_program_stays_below_the_verifiers_limits_with_and_without_tracing() {
    assert!(nix::unistd::geteuid().is_root(), "needs root: run `sudo ./x test --suite packet`");
    let pins = Pins(format!("/sys/fs/bpf/fwtest-{}-verifier", std::process::id()).into());
    println!("{:14}{:>6}{:>14}{:>8}  stack of each function", "program", "trace", "instructions", "ms");
    for trace in [0, 1] {
        let maps = pins.0.join("v1");
        std::fs::create_dir_all(&maps).unwrap();
        let mut object = load(&maps, trace);
        for name in PROGRAMS {
            let log = verdict(object.program_mut(name).unwrap());
            let instructions = number(&log, "processed ");
            let stack = stack(&log).unwrap();
            let (on, ms) = (if trace == 1 { "on" } else { "off" }, number(&log, "verification time ") / 1000);
            println!("{name:14}{on:>6}{instructions:>14}{ms:>8}  {stack}");
            assert!(instructions < INSTRUCTIONS, "{name}: {instructions} instructions");
            // The kernel itself adds them up along every chain of calls.
            for depth in stack.split(['+', ' ']).filter_map(|depth| depth.parse::<u32>().ok()) {
                assert!(depth <= STACK, "{name}: {stack}");
            }
        }
    }
}
