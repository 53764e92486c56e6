//! The settings as people and programs read them.

use std::fmt::Write;

use super::{Loaded, Shape};

impl Loaded {
    /// One line a setting, aligned; then what kube-proxy's configuration says in vain.
    pub fn table(&self) -> String {
        let rows: Vec<[String; 3]> = self
            .values
            .iter()
            .map(|(setting, value)| {
                let text = if value.texts.is_empty() { "-".to_owned() } else { value.texts.join(",") };
                [setting.key.to_owned(), text, value.origin.to_string()]
            })
            .collect();
        let header = ["SETTING", "VALUE", "SOURCE"].map(str::to_owned);
        let width = |column: usize| {
            rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        let mut out = String::new();
        for [key, value, source] in [&header].into_iter().chain(&rows) {
            // Writing into a String does not fail.
            let _ = writeln!(out, "{key:first$}  {value:second$}  {source}");
        }
        if !self.notes.is_empty() {
            out.push_str("\nNOT USED\n");
        }
        for note in &self.notes {
            let _ = writeln!(out, "{note}");
        }
        out
    }

    /// A list of `{setting, value, source}`; the value of a repeatable setting is a list, one without a value null.
    /// `notUsed` has what kube-proxy's configuration says in vain.
    pub fn json(&self) -> String {
        let items: Vec<serde_json::Value> = self
            .values
            .iter()
            .map(|(setting, value)| {
                let text = match setting.shape {
                    Shape::Many => serde_json::json!(value.texts),
                    Shape::Switch => serde_json::json!(value.texts.last().is_some_and(|text| text == "true")),
                    Shape::One => serde_json::json!(value.texts.last()),
                };
                serde_json::json!({"setting": setting.key, "value": text, "source": value.origin.to_string()})
            })
            .collect();
        let not_used: Vec<String> = self.notes.iter().map(ToString::to_string).collect();
        let list = serde_json::json!({
            "apiVersion": "fairway.dev/v1", "kind": "ConfigList", "items": items, "notUsed": not_used,
        });
        format!("{list:#}\n")
    }
}
