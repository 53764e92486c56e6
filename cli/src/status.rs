//! How the node is: one line per subsystem, and with `-o wide` its programs and maps.

mod model;

pub(crate) use model::Status;
use model::{Agent, Map};

use crate::args::Format;
use crate::error::Error;
use crate::output::{Object, Output, text};
use crate::style;
use crate::table::Table;

impl Status {
    /// Whether no subsystem has failed.
    pub(crate) fn is_healthy(&self) -> bool {
        self.agent.as_ref().is_none_or(|agent| agent.subsystems.iter().all(|part| part.state != "failed"))
    }

    /// In the form that was asked for.
    pub(crate) fn render(&self, output: &Output) -> Result<String, Error> {
        if matches!(output.format, Format::Json | Format::Yaml) {
            return output.document(&Object::new("Status", self));
        }
        let Some(agent) = &self.agent else {
            return Ok(text(self.maps_table(output).lines()));
        };
        let mut lines = agent.lines(unicode());
        if output.format == Format::Wide {
            lines.push(String::new());
            lines.extend(agent.programs_table(output).lines());
            lines.push(String::new());
            lines.extend(self.maps_table(output).lines());
        }
        Ok(text(lines))
    }

    fn maps_table(&self, output: &Output) -> Table {
        let columns = ["MAP", "TYPE", "ENTRIES", "MAX", "FILL", "METHOD", "MEM"];
        let mut table = Table::new(columns).with_headers(output.headers);
        for map in &self.maps {
            table.row(vec![
                style::name(&map.name),
                map.kind.clone(),
                map.entries.map_or("-".to_owned(), |entries| entries.to_string()),
                map.capacity.to_string(),
                fill(map),
                if map.entries.is_some() { "counted" } else { "n/a" }.to_owned(),
                style::bytes(map.memory),
            ]);
        }
        table
    }
}

/// How full a map is.
fn fill(map: &Map) -> String {
    let Some(entries) = map.entries.filter(|_| map.capacity > 0) else {
        return "-".to_owned();
    };
    let percent = entries as f64 * 100.0 / map.capacity as f64;
    let text = format!("{percent:.1}%");
    match percent {
        95.0.. => style::bad(&text),
        80.0.. => style::warning(&text),
        _ => text,
    }
}

impl Agent {
    /// One line for each subsystem.
    fn lines(&self, unicode: bool) -> Vec<String> {
        let mut table = Table::new([]).with_headers(false);
        for part in &self.subsystems {
            let mark = mark(part.state, unicode);
            let mark = match part.state {
                "ok" => style::good(mark),
                "warning" => style::warning(mark),
                "failed" => style::bad(mark),
                _ => style::dim(mark),
            };
            table.row(vec![mark, part.name.clone(), part.text.clone()]);
        }
        let up = style::seconds(self.uptime_seconds);
        let mut lines = vec![format!("node {}, agent {}, up {up}", style::name(&self.node), self.version)];
        lines.extend(table.lines());
        lines
    }

    fn programs_table(&self, output: &Output) -> Table {
        let columns = ["PROGRAM", "METHOD", "ID", "TAG", "VERIFIED-INSNS", "MEM", "ATTACHED"];
        let mut table = Table::new(columns).with_headers(output.headers);
        for program in &self.programs {
            table.row(vec![
                style::name(&program.name),
                style::or_dash(Some(&program.method)),
                program.id.to_string(),
                style::or_dash(Some(&program.tag)),
                program.verified_instructions.to_string(),
                style::bytes(program.memory.into()),
                style::list_or_dash(&program.attached),
            ]);
        }
        table
    }
}

/// The sign of a state: never colour alone.
fn mark(state: &str, unicode: bool) -> &'static str {
    match (state, unicode) {
        ("ok", true) => "√",
        ("warning", true) => "‼",
        ("failed", true) => "×",
        ("ok", false) => "OK",
        ("warning", false) => "WARN",
        ("failed", false) => "FAIL",
        _ => "?",
    }
}

/// Whether the locale is one of UTF-8.
fn unicode() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use fairway_proto::node::{self, subsystem::State};

    use super::*;

    #[test]
    fn signs_of_states_exist_without_utf_8() {
        assert_eq!(["ok", "warning", "failed"].map(|state| mark(state, false)), ["OK", "WARN", "FAIL"]);
    }

    #[test]
    fn a_failed_subsystem_makes_the_node_unhealthy() {
        let part = |state: State| node::Subsystem {
            name: "kernel".into(),
            state: state.into(),
            text: String::new(),
        };
        let status = |state| {
            Status::from(node::StatusResponse { subsystems: vec![part(state)], ..Default::default() })
        };
        assert!(status(State::Warning).is_healthy());
        assert!(!status(State::Failed).is_healthy());
    }

    #[test]
    fn a_map_that_cannot_be_counted_has_no_fill() {
        let map = Map { name: "m".into(), kind: "array".into(), entries: None, capacity: 4, memory: 0 };
        assert_eq!(fill(&map), "-");
        assert_eq!(fill(&Map { entries: Some(1), ..map }), "25.0%");
    }
}
