//! Rows: as a table and as JSON.

use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::json;

use super::ledger::{Received, histogram};

const MILLISECOND: f64 = 1e6;

/// What was measured of one number of agents and one rate of changes.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) agents: u32,
    pub(super) services: u32,
    pub(super) endpoints: u32,
    pub(super) churn_per_s: u32,
    /// For how long endpoints changed.
    pub(super) seconds: f64,
    /// Memory of the control plane while they did, and the most that it ever had.
    pub(super) rss_mib: f64,
    pub(super) rss_peak_mib: f64,
    /// Its share of one CPU, and that of all agents together.
    pub(super) cpu_percent: f64,
    pub(super) agents_cpu_percent: f64,
    /// From a change to its receipt by the last agent.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// From a change to its receipt, over all agents.
    pub(super) agent_p50_ms: f64,
    pub(super) agent_p99_ms: f64,
    /// What an agent receives for the changes, and in how many responses.
    pub(super) bytes_per_agent: f64,
    pub(super) responses_per_agent: f64,
    /// What a new agent receives, and how long that takes.
    pub(super) snapshot_bytes: u64,
    pub(super) snapshot_s: f64,
    pub(super) changes: usize,
    /// Changes that did not come to every agent.
    pub(super) lost: usize,
}

impl Row {
    /// The times and bytes that processes of agents have noted.
    pub(super) fn of(received: Vec<Received>, agents: u32) -> Self {
        let changes = received.first().map_or(0, |process| process.changes.len());
        let mut last: Vec<u64> = Vec::new();
        let mut all = histogram();
        let (mut bytes, mut responses) = (0, 0);
        for change in 0..changes {
            let of_all = received.iter().map(|process| process.changes[change]);
            if of_all.clone().map(|(_, agents)| agents).sum::<u32>() >= agents {
                last.push(of_all.map(|(last, _)| last).max().unwrap_or_default());
            }
        }
        for process in &received {
            bytes += process.bytes;
            responses += process.responses;
            for (value, count) in &process.latency {
                all.saturating_record_n(*value, *count);
            }
        }
        last.sort_unstable();
        let of_last = |share: f64| {
            let index = (last.len() as f64 * share).ceil() as usize;
            last.get(index.saturating_sub(1)).map_or(f64::NAN, |value| *value as f64 / MILLISECOND)
        };
        let of_all = |share| all.value_at_quantile(share) as f64 / MILLISECOND;
        let each = |sum: u64| sum as f64 / f64::from(agents);
        Self {
            p50_ms: of_last(0.5),
            p99_ms: of_last(0.99),
            agent_p50_ms: of_all(0.5),
            agent_p99_ms: of_all(0.99),
            bytes_per_agent: each(bytes),
            responses_per_agent: each(responses),
            changes,
            lost: changes - last.len(),
            ..Self::default()
        }
    }
}

const HEADER: [&str; 14] = [
    "agents",
    "services",
    "endpoints",
    "changes/s",
    "RSS",
    "peak",
    "CPU",
    "last p50",
    "last p99",
    "agent p50",
    "agent p99",
    "B/s agent",
    "snapshot",
    "takes",
];

/// Prints the table and writes the file.
pub(super) fn print(rows: &[Row], json: Option<&Path>) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER);
    for row in rows {
        let milliseconds = |value: f64| format!("{value:.0} ms");
        table.add_row([
            row.agents.to_string(),
            row.services.to_string(),
            row.endpoints.to_string(),
            row.churn_per_s.to_string(),
            format!("{:.0} MiB", row.rss_mib),
            format!("{:.0} MiB", row.rss_peak_mib),
            format!("{:.0} %", row.cpu_percent),
            milliseconds(row.p50_ms),
            milliseconds(row.p99_ms),
            milliseconds(row.agent_p50_ms),
            milliseconds(row.agent_p99_ms),
            format!("{:.0}", row.bytes_per_agent / row.seconds),
            format!("{:.1} MiB", row.snapshot_bytes as f64 / f64::from(1 << 20)),
            format!("{:.2} s", row.snapshot_s),
        ]);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    println!("{table}");
    for row in rows.iter().filter(|row| row.lost > 0) {
        println!(
            "{} agents, {} changes/s: {} of {} changes did not come to every agent",
            row.agents, row.churn_per_s, row.lost, row.changes
        );
    }
    if let Some(path) = json {
        std::fs::write(path, format!("{:#}\n", json!({ "rows": rows })))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_the_last_agent_of_all_processes_has_it() {
        let process = |changes: &[(u64, u32)]| Received {
            changes: changes.to_vec(),
            latency: vec![(1_000_000, 2)],
            bytes: 30,
            responses: 3,
        };
        let received =
            vec![process(&[(2_000_000, 1), (5_000_000, 1)]), process(&[(4_000_000, 2), (1_000_000, 1)])];
        let row = Row::of(received, 3);
        assert_eq!((row.changes, row.lost, row.p50_ms, row.p99_ms), (2, 1, 4.0, 4.0));
        assert_eq!((row.bytes_per_agent, row.responses_per_agent), (20.0, 2.0));
        assert!((row.agent_p99_ms - 1.0).abs() < 0.01);
    }
}
