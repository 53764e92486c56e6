//! What cargo and the test runners print: which program runs, and how each test ended.

use std::collections::BTreeMap;

use crate::sh;

/// Reads lines, and keeps how each test ended.
#[derive(Default)]
pub(crate) struct Output {
    /// Folder and target of the program that runs.
    program: Option<String>,
    /// By the ledger's names.
    pub(crate) tests: BTreeMap<String, bool>,
}

impl Output {
    /// Takes a line; true: it only says that a test passed.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        let trimmed = line.trim();
        if let Some(running) = trimmed.strip_prefix("Running ") {
            self.program = program(running, &|path| sh::root().join(path).exists());
        } else if trimmed.starts_with("Doc-tests ") {
            self.program = None;
        }
        let Some((name, passed)) = ended(trimmed) else { return false };
        if let Some(program) = &self.program {
            self.tests.insert(format!("{program}::{name}"), passed);
        }
        passed
    }
}

/// Name and end of a test: `test a::b ... ok`.
fn ended(line: &str) -> Option<(&str, bool)> {
    let (name, end) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = name.trim_end_matches(" - should panic");
    match end.split(' ').next()? {
        "ok" => Some((name, true)),
        "FAILED" => Some((name, false)),
        _ => None,
    }
}

/// `unittests src/lib.rs (target/debug/deps/fairway_agent-0123)` is `agent`, `tests/plugin.rs (.../plugin-0123)` is
/// `cni::plugin`.
fn program(running: &str, exists: &dyn Fn(&str) -> bool) -> Option<String> {
    let (what, file) = running.strip_suffix(')')?.rsplit_once(" (")?;
    let (name, _) = file.rsplit('/').next()?.rsplit_once('-')?;
    if what.starts_with("unittests ") {
        return Some(match name.strip_prefix("fairway_") {
            Some("lab") => "tests".into(),
            Some(folder) => folder.into(),
            None if name == "fairway" => "cli".into(),
            None => name.into(),
        });
    }
    let folders = ["agent", "cli", "cni", "common", "control", "datapath", "proto", "tests", "xtask"];
    let folder = folders.into_iter().find(|folder| exists(&format!("{folder}/{what}")))?;
    Some(format!("{folder}::{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_which_test_ended_how() {
        assert_eq!(ended("test a::b ... ok"), Some(("a::b", true)));
        assert_eq!(ended("test sockets-on/a_b ... ok (1.2s)"), Some(("sockets-on/a_b", true)));
        assert_eq!(ended("test a - should panic ... ok"), Some(("a", true)));
        assert_eq!(ended("test a ... FAILED"), Some(("a", false)));
        assert_eq!(ended("test a ... ignored, why"), None);
        assert_eq!(ended("test result: ok. 1 passed; 0 failed"), None);
    }

    #[test]
    fn a_program_is_known_by_its_file() {
        let exists = |path: &str| path == "cni/tests/plugin.rs";
        let of = |line| program(line, &exists);
        let unit = "unittests src/lib.rs (target/debug/deps/fairway_agent-0a1b)";
        assert_eq!(of(unit).as_deref(), Some("agent"));
        assert_eq!(of("unittests src/main.rs (target/debug/deps/fairway-0a1b)").as_deref(), Some("cli"));
        assert_eq!(of("tests/plugin.rs (target/debug/deps/plugin-0a1b)").as_deref(), Some("cni::plugin"));
    }
}
