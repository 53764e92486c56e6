//! The ledger: which statement about Services, pods and packets is proven by which test. `docs/conformance.md` is made from
//! the numbers beside the tests, from what the last `./x test` saw pass, and from `docs/conformance.toml`.

mod page;
mod scan;
mod state;
mod statements;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::results::Results;
use crate::sh;
pub(crate) use scan::Test;
use state::Entry;

const PAGE: &str = "docs/conformance.md";

/// Writes the page, and the same as JSON to `json`; prints how many statements are in each state.
pub(crate) fn write(json: Option<&Path>) -> Result<()> {
    let results = Results::load()?.unwrap_or_default();
    match results.problem() {
        Some(problem) => sh::say(format_args!("ledger: {problem}")),
        None => sh::say("ledger: the results of the last `./x test` are up to date"),
    }
    let entries = entries(&results)?;
    fs::write(sh::root().join(PAGE), page::of(&entries)).context("the page cannot be written")?;
    if let Some(path) = json {
        let list: Vec<_> = entries
            .iter()
            .map(|entry| {
                json!({"id": entry.id(), "state": entry.state.name(), "tests": entry.tests, "note": entry.note})
            })
            .collect();
        fs::write(path, serde_json::to_vec_pretty(&list)?)
            .with_context(|| format!("`{}`", path.display()))?;
    }
    println!("ledger: {}", state::Count::of(&entries));
    Ok(())
}

/// Fails when the page does not follow from the sources: a statement without its line, a test that is gone, a state above
/// its cap, or `yes` without a test. With the results of a test run, every state must be the one that follows from them.
pub(crate) fn check() -> Result<()> {
    let text = fs::read_to_string(sh::root().join(PAGE)).unwrap_or_default();
    let results = Results::load()?.filter(|results| results.problem().is_none());
    let entries = entries(&results.clone().unwrap_or_default())?;
    let mut wrong = Vec::new();
    for entry in &entries {
        match page::state_of(&text, entry.number) {
            None => wrong.push(format!("{} is not there", entry.id())),
            Some(shown) if results.is_some() && shown != entry.shown() => {
                wrong.push(format!("{} says `{shown}`, and is `{}`", entry.id(), entry.shown()));
            }
            Some(shown) if shown == "yes" && (entry.tests.is_empty() || entry.capped) => {
                wrong.push(format!("{} says `yes` without a test, or above its cap", entry.id()));
            }
            Some(_) => {}
        }
    }
    if !wrong.is_empty() {
        bail!("{PAGE} is out of date, run `./x ledger`: {}", wrong.join("; "));
    }
    Ok(())
}

fn entries(results: &Results) -> Result<Vec<Entry>> {
    let statements = statements::load()?;
    let tests = scan::workspace()?;
    let known = |number: &u16| statements.iter().any(|statement| statement.number == *number);
    for test in &tests {
        if let Some(number) = test.numbers.iter().find(|number| !known(number)) {
            bail!("{} names S{number}, and there is no such statement", test.name());
        }
    }
    Ok(statements.into_iter().map(|statement| state::entry(statement, &tests, results)).collect())
}
