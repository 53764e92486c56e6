//! The figures as a table or as JSON.

use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// One plugin, called by so many at once. Times are in microseconds.
pub(crate) struct Row {
    plugin: &'static str,
    at_once: u32,
    calls: Vec<u64>,
    batches: Vec<u64>,
}

impl Row {
    pub(crate) fn new(plugin: &'static str, at_once: u32) -> Self {
        Self { plugin, at_once, calls: Vec::new(), batches: Vec::new() }
    }

    pub(crate) fn add(&mut self, calls: &[u64], batch: u64) {
        self.calls.extend(calls);
        self.batches.push(batch);
    }
}

/// The value that so many hundredths of all are not above.
fn percentile(values: &[u64], hundredths: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * hundredths).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

pub(crate) fn print(rows: &[Row], format: Format) -> anyhow::Result<String> {
    if format == Format::Json {
        let rows = rows.iter().map(|row| {
            json!({
                "plugin": row.plugin, "parallel": row.at_once, "calls": row.calls.len(),
                "p50Micros": percentile(&row.calls, 50), "p99Micros": percentile(&row.calls, 99),
                "maxMicros": percentile(&row.calls, 100), "batchP50Micros": percentile(&row.batches, 50),
            })
        });
        return Ok(serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?);
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["PLUGIN", "AT ONCE", "CALLS", "P50", "P99", "LONGEST", "ALL DONE"]);
    for row in rows {
        let time = |micros: u64| format!("{}.{} ms", micros / 1000, micros % 1000 / 100);
        table.add_row([
            row.plugin.to_owned(),
            row.at_once.to_string(),
            row.calls.len().to_string(),
            time(percentile(&row.calls, 50)),
            time(percentile(&row.calls, 99)),
            time(percentile(&row.calls, 100)),
            time(percentile(&row.batches, 50)),
        ]);
    }
    Ok(table.to_string())
}
