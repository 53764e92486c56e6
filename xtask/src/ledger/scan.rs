//! Tests in the sources, with the numbers of the statements that they prove: `// S12` or `// S12, S14: why` directly above
//! a test, above a row of a suite's table, or inside the test.
//!
//! Reads lines and no syntax: the sources are formatted, so an item ends with a brace at its own indentation.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use crate::sh;

/// Every number in it is a test of the matrix: all cells that follow from the statement.
const EXPECTATIONS: &str = "tests/tests/lab/matrix/expected.rs";

/// A test that proves something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// The folder of its crate.
    pub(crate) folder: String,
    /// `tests/NAME` of an integration test; empty for the crate's own tests.
    pub(crate) target: String,
    /// Its path as the runner prints it; of a suite's row the last part.
    pub(crate) path: String,
    /// A row of a suite's table, which runs in several worlds.
    pub(crate) is_row: bool,
    pub(crate) numbers: BTreeSet<u16>,
}

impl Test {
    /// What the ledger shows.
    pub(crate) fn name(&self) -> String {
        let target = if self.target.is_empty() { String::new() } else { format!("::{}", self.target) };
        format!("{}{target}::{}", self.folder, self.path)
    }
}

/// All tests of the workspace that name a statement.
pub(crate) fn workspace() -> Result<Vec<Test>> {
    let files = sh::stdout(sh::command("git").args(["ls-files", "*.rs"]).current_dir(sh::root()));
    let mut tests = Vec::new();
    // Numbers in this crate are examples.
    let files = files.context("git cannot list the sources")?;
    for file in files.lines().filter(|file| !file.starts_with("xtask/")) {
        // One that was removed and not committed.
        let Ok(text) = fs::read_to_string(sh::root().join(file)) else { continue };
        if text.contains("// S") {
            tests.extend(scan(file, &text));
        }
    }
    tests.sort_by_key(Test::name);
    Ok(tests)
}

/// The tests of one file.
fn scan(file: &str, text: &str) -> Vec<Test> {
    let Some((folder, target, modules)) = place(file) else { return Vec::new() };
    let rows = folder == "tests" && ["lab", "networks", "cni"].contains(&target.as_str());
    if file == EXPECTATIONS {
        let numbers: BTreeSet<u16> = text.lines().flat_map(|line| numbers(line.trim_start())).collect();
        let test = |number: u16| Test {
            folder: folder.clone(),
            target: target.clone(),
            path: format!("matrix/S{number}"),
            is_row: true,
            numbers: [number].into(),
        };
        return numbers.into_iter().map(test).collect();
    }
    let new = |path: String, is_row, numbers| Test {
        folder: folder.clone(),
        target: target.clone(),
        path,
        is_row,
        numbers,
    };
    let mut scanner = Scanner { open: Vec::new(), above: BTreeSet::new(), is_test: false };
    let mut found: Vec<Test> = Vec::new();
    for line in text.lines() {
        match scanner.line(line, rows) {
            Some(Found::Test(name)) => {
                let modules = modules.iter().cloned().chain(scanner.modules());
                let path = modules.chain([name]).collect::<Vec<_>>().join("::");
                found.push(new(path, false, std::mem::take(&mut scanner.above)));
            }
            Some(Found::Row(name)) => found.push(new(name, true, std::mem::take(&mut scanner.above))),
            Some(Found::Inside(numbers)) => {
                if let Some(test) = found.last_mut() {
                    test.numbers.extend(numbers);
                }
            }
            None => {}
        }
    }
    found.retain(|test| !test.numbers.is_empty());
    found
}

/// Folder of the crate, test target, and modules of a file; none for examples and build scripts.
fn place(file: &str) -> Option<(String, String, Vec<String>)> {
    let (folder, rest) = file.split_once('/')?;
    let path = rest.strip_suffix(".rs")?;
    let mut parts: Vec<String> = path.split('/').map(String::from).collect();
    let target = match parts.first()?.as_str() {
        "src" => {
            parts.remove(0);
            String::new()
        }
        "tests" => {
            parts.remove(0);
            parts.remove(0)
        }
        _ => return None,
    };
    if parts.last().is_some_and(|last| ["lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    if target.is_empty() && parts.first().is_some_and(|first| first == "bin") {
        parts.drain(..2.min(parts.len()));
    }
    Some((folder.into(), target, parts))
}

enum Open {
    Module(String),
    Test,
}

struct Scanner {
    /// Items that are open, with their indentation.
    open: Vec<(usize, Open)>,
    /// Numbers in the comments directly above.
    above: BTreeSet<u16>,
    /// A test's attribute is directly above.
    is_test: bool,
}

enum Found {
    Test(String),
    Row(String),
    Inside(BTreeSet<u16>),
}

impl Scanner {
    fn modules(&self) -> impl Iterator<Item = String> {
        self.open.iter().filter_map(|(_, open)| match open {
            Open::Module(name) => Some(name.clone()),
            Open::Test => None,
        })
    }

    fn line(&mut self, line: &str, rows: bool) -> Option<Found> {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if code == "}" && self.open.last().is_some_and(|(at, _)| *at == indent) {
            self.open.pop();
            return None;
        }
        let numbers = numbers(code);
        if matches!(self.open.last(), Some((_, Open::Test))) {
            return (!numbers.is_empty()).then_some(Found::Inside(numbers));
        }
        if code.starts_with("//") {
            self.above.extend(numbers);
            return None;
        }
        if code.starts_with("#[") {
            self.is_test |= code == "#[test]" || code.starts_with("#[tokio::test");
            return None;
        }
        if rows
            && !self.above.is_empty()
            && let Some(name) = literal(code)
        {
            return Some(Found::Row(name));
        }
        let is_test = std::mem::take(&mut self.is_test);
        if let Some(name) = named(code, "fn ").filter(|_| is_test) {
            // A body of one line has ended already.
            if !code.ends_with('}') {
                self.open.push((indent, Open::Test));
            }
            return Some(Found::Test(name));
        }
        if let Some(name) = named(code, "mod ").filter(|_| code.ends_with('{')) {
            self.open.push((indent, Open::Module(name)));
        }
        self.above.clear();
        None
    }
}

/// The numbers of a comment that begins with one.
fn numbers(code: &str) -> BTreeSet<u16> {
    let Some((_, comment)) = code.split_once("// S").or_else(|| code.split_once("/// S")) else {
        return BTreeSet::new();
    };
    let text = format!("S{comment}");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let all: Vec<Option<u16>> = words.map(|word| word.strip_prefix('S')?.parse().ok()).collect();
    // `// Some words about S12` are no claim.
    if all.first().copied().flatten().is_none() {
        return BTreeSet::new();
    }
    all.into_iter().flatten().collect()
}

fn named(code: &str, keyword: &str) -> Option<String> {
    let code = code.trim_start_matches("pub(crate) ").trim_start_matches("pub ").trim_start_matches("async ");
    let name = code.strip_prefix(keyword)?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(name[..end].into())
}

/// The first string of a line that begins with it, perhaps after a bracket or a function's name.
fn literal(code: &str) -> Option<String> {
    let (before, rest) = code.split_once('"')?;
    let plain = before.chars().all(|c| c.is_alphanumeric() || "_(:!".contains(c));
    plain.then(|| rest.split('"').next().map(String::from)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
// S9
fn helper() {
}

#[cfg(test)]
mod tests {
    // S1, S2: why
    #[test]
    fn above() {
    }

    #[tokio::test]
    async fn inside() {
        // S3
        if true {
        }
        assert!(true); // S4
    }

    // S5 is above nothing

    fn other() {}

    #[test]
    fn proves_nothing() {
        // Some words about S6.
    }
}
"#;

    fn shown(file: &str, text: &str) -> Vec<String> {
        let tests = scan(file, text);
        tests.iter().map(|test| format!("{} {:?}", test.name(), test.numbers)).collect()
    }

    #[test]
    fn numbers_belong_to_the_test_below_or_around_them() {
        let expected = ["agent::sync::disk::tests::above {1, 2}", "agent::sync::disk::tests::inside {3, 4}"];
        assert_eq!(shown("agent/src/sync/disk.rs", TEXT), expected);
    }

    #[test]
    fn rows_of_suites_with_a_runner_of_their_own_are_tests() {
        let text = "    // S31, S33\n    (\"a_name\", refused),\n    (\"another\", other),\n";
        assert_eq!(shown("tests/tests/lab/behaviour.rs", text), ["tests::lab::a_name {31, 33}"]);
        assert_eq!(shown("tests/tests/cni/pods.rs", text), ["tests::cni::a_name {31, 33}"]);
        assert!(shown("agent/src/lib.rs", text).is_empty());
    }

    #[test]
    fn files_tell_crate_target_and_modules() {
        let parts = |file| place(file).map(|(folder, target, modules)| (folder, target, modules.join("::")));
        let of = |a: &str, b: &str, c: &str| Some((a.into(), b.into(), c.into()));
        assert_eq!(parts("cni/tests/plugin.rs"), of("cni", "plugin", ""));
        assert_eq!(parts("datapath/tests/packet/main.rs"), of("datapath", "packet", ""));
        assert_eq!(parts("datapath/tests/packet/nat/more.rs"), of("datapath", "packet", "nat::more"));
        assert_eq!(parts("cli/src/main.rs"), of("cli", "", ""));
        assert_eq!(parts("datapath/build.rs"), None);
    }
}
