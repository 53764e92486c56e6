//! What can be said of a statement.

use std::fmt;

use super::scan::Test;
use super::statements::Statement;
use crate::results::{Outcome, Results};

/// How far a statement is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    NotYet,
    Partial,
    Yes,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NotYet => "not yet",
            Self::Partial => "partial",
            Self::Yes => "yes",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::NotYet, Self::Partial, Self::Yes].into_iter().find(|state| state.name() == name)
    }
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u16,
    pub(crate) text: String,
    pub(crate) state: State,
    /// Why it is not `yes`; empty if it is.
    pub(crate) note: String,
    /// The tests in the sources that name it.
    pub(crate) tests: Vec<String>,
    /// It has a cap.
    pub(crate) capped: bool,
}

impl Entry {
    pub(crate) fn id(&self) -> String {
        format!("S{}", self.number)
    }

    /// `yes`, `partial: why`, `not yet: why`.
    pub(crate) fn shown(&self) -> String {
        let name = self.state.name();
        if self.note.is_empty() { name.into() } else { format!("{name}: {}", self.note) }
    }
}

/// `yes` needs a test that passed and none that failed; a cap can only lower it.
pub(crate) fn entry(statement: Statement, tests: &[Test], results: &Results) -> Entry {
    let own: Vec<&Test> = tests.iter().filter(|test| test.numbers.contains(&statement.number)).collect();
    let outcomes: Vec<Outcome> = own.iter().map(|test| results.of(test)).collect();
    let (state, note) = if let Some(index) = outcomes.iter().position(|outcome| *outcome == Outcome::Failed) {
        (State::NotYet, own.get(index).map(|test| format!("{} fails", test.path)).unwrap_or_default())
    } else if outcomes.contains(&Outcome::Passed) {
        (State::Yes, String::new())
    } else if own.is_empty() {
        (State::NotYet, String::from("no test"))
    } else {
        (State::NotYet, String::from("its tests did not run"))
    };
    let capped = statement.cap.is_some();
    let (state, note) = match statement.cap {
        // Why there is no test says more than that there is none.
        Some((cap, why)) if cap < state || own.is_empty() && cap == state => (cap, why),
        _ => (state, note),
    };
    let tests = own.into_iter().map(Test::name).collect();
    Entry { number: statement.number, text: statement.text, state, note, tests, capped }
}

/// How many are in each state.
pub(crate) struct Count {
    yes: usize,
    partial: usize,
    not_yet: usize,
}

impl Count {
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let count = |state| entries.iter().filter(|entry| entry.state == state).count();
        Self { yes: count(State::Yes), partial: count(State::Partial), not_yet: count(State::NotYet) }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} yes, {} partial, {} not yet", self.yes, self.partial, self.not_yet)
    }
}
