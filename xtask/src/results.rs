//! Which tests ran, and how they ended: `target/test-results.json`, written by `./x test`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::ledger::Test;
use crate::sh;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// It did not run, or was ignored.
    Missing,
}

/// One suite's run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// Seconds of the Unix epoch at its start.
    pub(crate) started: u64,
    /// How many seconds it took.
    pub(crate) seconds: u64,
    /// `FOLDER[::TARGET]::PATH` of every test, and whether it passed.
    pub(crate) tests: BTreeMap<String, bool>,
}

/// The last run of every suite, by the suite's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    pub(crate) suites: BTreeMap<String, Run>,
}

impl Run {
    /// A run that starts now.
    pub(crate) fn start() -> Self {
        Self { started: now(), ..Self::default() }
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        self.seconds = now().saturating_sub(self.started);
    }
}

impl Results {
    /// What the runs so far have written; none: there was none.
    pub(crate) fn load() -> Result<Option<Self>> {
        let Ok(text) = fs::read_to_string(path()) else { return Ok(None) };
        let value: Value = serde_json::from_str(&text).with_context(|| format!("`{}`", path().display()))?;
        let mut suites = BTreeMap::new();
        for (name, run) in value.as_object().into_iter().flatten() {
            let number = |key| run.get(key).and_then(Value::as_u64).unwrap_or_default();
            let tests = run.get("tests").and_then(Value::as_object).into_iter().flatten();
            let tests = tests.filter_map(|(name, passed)| Some((name.clone(), passed.as_bool()?))).collect();
            let run = Run { started: number("started"), seconds: number("seconds"), tests };
            suites.insert(name.clone(), run);
        }
        Ok(Some(Self { suites }))
    }

    /// Writes them for `./x ledger`.
    pub(crate) fn save(&self) -> Result<()> {
        let of = |run: &Run| json!({"started": run.started, "seconds": run.seconds, "tests": run.tests});
        let value: BTreeMap<&String, Value> = self.suites.iter().map(|(name, run)| (name, of(run))).collect();
        fs::write(path(), serde_json::to_vec_pretty(&value)?)
            .with_context(|| format!("`{}`", path().display()))
    }

    /// How a test ended; a row of a suite's table passed if it passed in every world.
    pub(crate) fn of(&self, test: &Test) -> Outcome {
        let name = test.name();
        let (head, row) = (format!("{}::{}::", test.folder, test.target), format!("/{}", test.path));
        let is_it = |key: &str| key == name || test.is_row && key.starts_with(&head) && key.ends_with(&row);
        let all = self.suites.values().flat_map(|run| &run.tests);
        let ended: Vec<bool> = all.filter(|(key, _)| is_it(key)).map(|(_, passed)| *passed).collect();
        match (ended.is_empty(), ended.contains(&false)) {
            (true, _) => Outcome::Missing,
            (_, true) => Outcome::Failed,
            _ => Outcome::Passed,
        }
    }

    /// Why they say too little: suites that did not run, or that ran before a source was changed.
    pub(crate) fn problem(&self) -> Option<String> {
        let missing: Vec<&str> =
            crate::suite::NAMES.into_iter().filter(|name| !self.suites.contains_key(*name)).collect();
        if !missing.is_empty() {
            return Some(format!("no results of suite {}: run `./x test`", missing.join(", ")));
        }
        let oldest = self.suites.values().map(|run| run.started).min().unwrap_or_default();
        let changed = newest_source().filter(|(_, at)| *at > oldest)?;
        Some(format!("{} is newer than the results: run `./x test`", changed.0))
    }
}

fn path() -> PathBuf {
    sh::root().join("target/test-results.json")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn newest_source() -> Option<(String, u64)> {
    let files = sh::stdout(sh::command("git").args(["ls-files", "*.rs"]).current_dir(sh::root()))?;
    let at = |file: &str| {
        let changed = fs::metadata(sh::root().join(file)).ok()?.modified().ok()?;
        Some((file.to_owned(), changed.duration_since(UNIX_EPOCH).ok()?.as_secs()))
    };
    files.lines().filter_map(at).max_by_key(|(_, at)| *at)
}
