//! What a trace saw in all.

use std::collections::BTreeMap;

use super::line::Event;

/// Counts of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Events shown.
    pub(crate) events: u64,
    /// Events that did not reach us.
    pub(crate) lost: u64,
    dropped: BTreeMap<String, u64>,
    rejected: BTreeMap<String, u64>,
}

impl Summary {
    /// Counts an event.
    pub(crate) fn add(&mut self, event: &Event) {
        self.events += 1;
        self.lost += event.lost;
        if event.is_loss() {
            let reasons = if event.class == "drop" { &mut self.dropped } else { &mut self.rejected };
            *reasons.entry(event.reason.clone()).or_default() += 1;
        }
    }

    /// Events that were refused or dropped.
    pub(crate) fn losses(&self) -> u64 {
        self.dropped.values().chain(self.rejected.values()).sum()
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let part = |word: &str, reasons: &BTreeMap<String, u64>| {
            let total: u64 = reasons.values().sum();
            if total == 0 {
                return format!("0 {word}");
            }
            let each: Vec<String> =
                reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            format!("{total} {word} ({})", each.join(", "))
        };
        format!(
            "{} {}, {}, {}, {} lost",
            self.events,
            if self.events == 1 { "event" } else { "events" },
            part("dropped", &self.dropped),
            part("rejected", &self.rejected),
            self.lost
        )
    }
}
