//! The statements, and the most that may be said of some: `docs/conformance.toml`.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use super::state::State;
use crate::sh;

const FILE: &str = "docs/conformance.toml";

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) number: u16,
    /// What must happen, one line.
    pub(crate) text: String,
    /// The most that may be said of it, and why.
    pub(crate) cap: Option<(State, String)>,
}

/// All statements, by number.
pub(crate) fn load() -> Result<Vec<Statement>> {
    let text = fs::read_to_string(sh::root().join(FILE)).with_context(|| format!("`{FILE}`"))?;
    parse(&text).with_context(|| format!("`{FILE}`"))
}

fn parse(text: &str) -> Result<Vec<Statement>> {
    let file: toml::Table = text.parse()?;
    let table = |name| file.get(name).and_then(toml::Value::as_table).with_context(|| format!("no [{name}]"));
    let (texts, caps) = (table("statements")?, table("caps")?);
    if let Some(unknown) = caps.keys().find(|id| !texts.contains_key(*id)) {
        bail!("a cap for {unknown}, which is no statement");
    }
    let mut statements = Vec::new();
    for (id, text) in texts {
        let number = id.strip_prefix('S').and_then(|number| number.parse().ok());
        let number = number.with_context(|| format!("`{id}` is not S and a number"))?;
        let text = text.as_str().with_context(|| format!("{id} is not a text"))?.to_owned();
        let cap = caps.get(id).map(cap).transpose().with_context(|| format!("the cap of {id}"))?;
        statements.push(Statement { number, text, cap });
    }
    statements.sort_by_key(|statement| statement.number);
    Ok(statements)
}

/// `"partial: why"` or `"not yet: why"`.
fn cap(value: &toml::Value) -> Result<(State, String)> {
    let text = value.as_str().context("not a text")?;
    let (state, why) = text.split_once(": ").context("not `partial: why` or `not yet: why`")?;
    let state = State::of(state).with_context(|| format!("no state `{state}`"))?;
    ensure!(state != State::Yes, "`yes` follows from tests and needs no cap");
    Ok((state, why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_come_by_number_with_their_caps() {
        let text = "[statements]\nS10 = \"b\"\nS2 = \"a\"\n[caps]\nS10 = \"partial: IPv4 only\"\n";
        let [a, b] = parse(text).unwrap().try_into().unwrap();
        assert_eq!((a.number, a.text.as_str(), a.cap), (2, "a", None));
        assert_eq!(b.cap, Some((State::Partial, "IPv4 only".into())));
    }

    #[test]
    fn a_cap_says_why_and_is_not_yes() {
        for cap in ["partial", "yes: because", "maybe: so"] {
            assert!(parse(&format!("[statements]\nS1 = \"a\"\n[caps]\nS1 = \"{cap}\"\n")).is_err());
        }
        assert!(parse("[statements]\n[caps]\nS1 = \"partial: why\"\n").is_err());
    }
}
