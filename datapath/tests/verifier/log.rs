//! Every program's verifier log, which Aya hands out only when loading fails.
#![expect(unsafe_code, reason = "setrlimit(2) takes a structure by address")]

use std::path::{Path, PathBuf};

use aya::programs::{Program, ProgramError};
use aya::{EbpfLoader, VerifierLogLevel};
use fairway_datapath::{Datapath, OBJECT};

/// Pins that go when it is dropped.
pub(crate) struct Pins(pub(crate) PathBuf);

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

/// The verifier's last words on a program. It is made to fail at its very end: the verified program gets no descriptor.
pub(crate) fn verdict(program: &mut Program) -> String {
    let result = without_descriptors(|| match program {
        Program::SchedClassifier(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::Xdp(program) => program.load(),
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

/// The stack of each function of a program, from its log.
pub(crate) fn stack(log: &str) -> Option<&str> {
    log.lines().find_map(|line| line.strip_prefix("stack depth "))
}

/// The object, with maps pinned in a directory.
pub(crate) fn load(pins: &Path, trace: u32) -> aya::Ebpf {
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
        // Both ways to other nodes, one in each run.
        .override_global("DIRECT", &(2 - trace), true)
        .override_global("TRACE", &trace, true)
        .load(OBJECT)
        .unwrap()
}
