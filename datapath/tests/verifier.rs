//! What the verifier says of every program: a table that shows growth, and the limits that it must stay below.
#![expect(unsafe_code, reason = "setrlimit(2) takes a structure by address")]

use std::path::{Path, PathBuf};

use aya::programs::{Program, ProgramError};
use aya::{EbpfLoader, VerifierLogLevel};
use fairway_datapath::{Datapath, OBJECT, PROGRAMS};

/// Most instructions that the verifier walks.
const INSTRUCTIONS: u32 = 1_000_000;
/// Bytes of stack that a chain of calls may take.
const STACK: u32 = 512;

struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = Datapath::remove(&self.0) {
            eprintln!("{error}");
        }
    }
}

/// Lets the kernel give out no new descriptor while `job` runs.
fn without_descriptors<T>(job: impl FnOnce() -> T) -> T {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is live; only this process's own soft limit changes.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    let none = libc::rlimit { rlim_cur: 0, ..limit };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) }, 0);
    let result = job();
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    result
}

/// The verifier's last words on a program. Aya hands them out only when loading fails, so it is made to fail at its
/// very end: the verified program gets no descriptor.
fn verdict(program: &mut Program) -> String {
    let result = without_descriptors(|| match program {
        Program::SchedClassifier(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        _ => panic!("a program of another type"),
    });
    match result {
        Err(ProgramError::LoadError { io_error, verifier_log }) => {
            assert_eq!(io_error.raw_os_error(), Some(libc::EMFILE), "{io_error}: {verifier_log}");
            verifier_log.to_string()
        }
        other => panic!("loaded without a descriptor: {other:?}"),
    }
}

/// The number behind a word of the log.
fn number(log: &str, word: &str) -> u32 {
    let (_, rest) = log.split_once(word).unwrap_or_else(|| panic!("no `{word}` in {log}"));
    rest.split(|c: char| !c.is_ascii_digit()).find(|text| !text.is_empty()).unwrap().parse().unwrap()
}

fn load(pins: &Path, trace: u32) -> aya::Ebpf {
    let node_v4 = [10u8, 0, 0, 1];
    let node_v6 = [0xfdu8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .default_map_pin_directory(pins)
        .override_global("NODE_V4", &node_v4[..], true)
        .override_global("NODE_V6", &node_v6[..], true)
        .override_global("SOCKETS_OF", &1u64, true)
        .override_global("MASQUERADE", &3u32, true)
        .override_global("TUNNEL", &7u32, true)
        .override_global("TRACE", &trace, true)
        .load(OBJECT)
        .unwrap()
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
            let stack = log.lines().find_map(|line| line.strip_prefix("stack depth ")).unwrap();
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
