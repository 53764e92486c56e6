//! How often what happened, and what it means.

use std::cmp::Ordering;

use fairway_common::reason::{self, Class, Reason};
use fairway_proto::node;
use serde::Serialize;

use crate::output::Row;
use crate::style;

/// How often a reason was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Count {
    number: u32,
    reason: String,
    /// forward, reject, drop.
    class: String,
    packets: u64,
    bytes: u64,
    text: String,
    hint: String,
}

impl Count {
    /// From the pinned maps.
    pub(crate) fn new(reason: Reason, count: reason::Count) -> Self {
        Self {
            number: reason as u32,
            reason: reason.name().to_owned(),
            class: reason.class().name().to_owned(),
            packets: count.packets,
            bytes: count.bytes,
            text: reason.text().to_owned(),
            hint: reason.hint().to_owned(),
        }
    }

    /// Whether something did not go on.
    pub(crate) fn is_loss(&self) -> bool {
        self.class != Class::Forward.name()
    }

    /// Whether it happened at all.
    pub(crate) fn happened(&self) -> bool {
        self.packets > 0
    }
}

impl From<node::ReasonCount> for Count {
    fn from(count: node::ReasonCount) -> Self {
        Self {
            number: count.number,
            reason: count.name,
            class: count.class,
            packets: count.packets,
            bytes: count.bytes,
            text: count.text,
            hint: count.hint,
        }
    }
}

impl Row for Count {
    const KIND: &'static str = "ReasonList";
    const COLUMNS: &'static [&'static str] = &["REASON", "CLASS", "COUNT", "BYTES", "WHAT"];
    const WIDE: &'static [&'static str] = &["NUMBER", "NEXT"];

    fn cells(&self) -> Vec<String> {
        vec![
            style::name(&self.reason),
            style::state(&self.class),
            self.packets.to_string(),
            style::bytes(self.bytes),
            self.text.clone(),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![self.number.to_string(), style::or_dash(Some(&self.hint))]
    }

    fn in_namespace(&self, _namespace: &str) -> bool {
        true
    }

    fn compare(&self, other: &Self) -> Ordering {
        (other.is_loss(), other.packets, self.number).cmp(&(self.is_loss(), self.packets, other.number))
    }
}

/// What a reason means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    number: u8,
    reason: &'static str,
    class: &'static str,
    text: &'static str,
    hint: &'static str,
}

impl From<Reason> for Explanation {
    fn from(reason: Reason) -> Self {
        Self {
            number: reason as u8,
            reason: reason.name(),
            class: reason.class().name(),
            text: reason.text(),
            hint: reason.hint(),
        }
    }
}

impl Explanation {
    /// The explanation in lines.
    pub(crate) fn text(&self) -> String {
        let effect = match self.class {
            "forward" => "the packet or call goes on",
            "reject" => "the sender is told: a refused call, a TCP reset or an ICMP error",
            _ => "the packet vanishes: the sender waits until its own time-out",
        };
        let mut text = format!(
            "{} (number {})\n  what    {}\n  class   {}: {effect}\n",
            style::name(self.reason),
            self.number,
            self.text,
            style::state(self.class),
        );
        if !self.hint.is_empty() {
            text += &format!("  next    {}\n", self.hint);
        }
        text
    }
}

impl Row for Explanation {
    const KIND: &'static str = "ReasonExplanationList";
    const COLUMNS: &'static [&'static str] = &["REASON", "CLASS", "WHAT", "NEXT"];
    const WIDE: &'static [&'static str] = &["NUMBER"];

    fn cells(&self) -> Vec<String> {
        let next = style::or_dash(Some(self.hint));
        vec![style::name(self.reason), style::state(self.class), self.text.to_owned(), next]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![self.number.to_string()]
    }

    fn in_namespace(&self, _namespace: &str) -> bool {
        true
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.number.cmp(&other.number)
    }
}
