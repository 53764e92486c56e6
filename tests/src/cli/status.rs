//! `fairway-lab status`.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use fairway_tests::lab::{Lab, Status};
use serde_json::json;

/// How to print.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

pub(super) fn print(lab: &Lab, format: Format) -> anyhow::Result<()> {
    let status = lab.status()?;
    let text = match format {
        Format::Json => serde_json::to_string_pretty(&json!({"lab": lab.state, "status": status}))?,
        Format::Table => text(lab, &status),
    };
    // A closed pipe is the reader's wish.
    writeln!(std::io::stdout(), "{text}").ok();
    Ok(())
}

fn text(lab: &Lab, status: &Status) -> String {
    let state = &lab.state;
    let mut processes = table(&["PROCESS", "ADDRESSES", "PID", "STATE", "LOG"]);
    for process in &status.processes {
        let number = state.plan.number(&process.name);
        let addresses = number.map(|number| state.plan.node(number)).unwrap_or_default();
        let addresses: Vec<String> = addresses.iter().map(|net| net.addr().to_string()).collect();
        let name = number.map_or_else(|| process.name.clone(), |_| format!("agent {}", process.name));
        let pid = process.pid.map(|pid| pid.to_string()).unwrap_or_default();
        let how = process.ended.clone().unwrap_or_else(|| "running".into());
        processes.add_row([name, addresses.join(" "), pid, how, process.log.clone()]);
    }
    let mut pods = table(&["POD", "NODE", "ADDRESSES", "PHASE", "READY", "RESTARTS", "MESSAGE"]);
    for pod in &status.pods {
        let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
        pods.add_row([
            pod.name.clone(),
            pod.node.clone(),
            addresses.join(" "),
            pod.phase.clone(),
            if pod.ready { "yes" } else { "no" }.into(),
            pod.restarts.to_string(),
            pod.message.clone().unwrap_or_default(),
        ]);
    }
    let broken: String = status.broken.iter().map(|line| format!("\nbroken manifest: {line}")).collect();
    let head = format!("lab {} from {}", state.id, state.source.display());
    format!("{head}, socket-lb {}\n\n{processes}\n\n{pods}{broken}", state.socket_lb.flag())
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table
}
