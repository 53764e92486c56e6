//! The page: one table.

use std::fmt::Write;

use super::state::{Count, Entry};

/// The page as Markdown.
pub(crate) fn of(entries: &[Entry]) -> String {
    let mut page = format!(
        "# What Services, pods and packets must do, and which test proves it\n\n\
         Made by `./x ledger` from the numbers beside the tests, from what the last `./x test` saw pass, and from\n\
         [conformance.toml](conformance.toml); not edited by hand. `yes`: a test with the number ran and passed, and none\n\
         failed.\n\n{}.\n\n| | What must happen | State | Tests |\n|---|---|---|---|\n",
        Count::of(entries)
    );
    for entry in entries {
        let tests: Vec<String> = entry.tests.iter().map(|test| format!("`{test}`")).collect();
        let row = [entry.id(), cell(&entry.text), cell(&entry.shown()), tests.join("<br>")];
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| {} |", row.join(" | "));
    }
    page
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The state that a page shows for a statement.
pub(crate) fn state_of(page: &str, number: u16) -> Option<String> {
    let start = format!("| S{number} | ");
    let line = page.lines().find(|line| line.starts_with(&start))?;
    line.replace("\\|", "\u{1}").split(" | ").nth(2).map(|state| state.replace('\u{1}', "|"))
}

#[cfg(test)]
mod tests {
    use super::super::state::State;
    use super::*;

    #[test]
    fn a_state_is_read_back_from_the_page() {
        let entry = Entry {
            number: 12,
            text: "a | b".into(),
            state: State::Partial,
            note: "IPv4 | IPv6".into(),
            tests: vec!["agent::a".into(), "agent::b".into()],
            capped: true,
        };
        let page = of(&[entry]);
        assert_eq!(state_of(&page, 12).as_deref(), Some("partial: IPv4 | IPv6"));
        assert_eq!(state_of(&page, 1), None);
    }
}
