//! A short run of the real benchmark: it proves that peers are built, take turns and become rows, and nothing about how
//! fast anything is. `./x test --suite bench`.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::Parser;
use fairway_bench::html;
use fairway_bench::plan::Choice;
use fairway_bench::report::Report;
use fairway_bench::run::{Extra, run};
use fairway_bench::table::{self, Style};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    choice: Choice,
}

#[test]
fn one_round_of_three_peers_becomes_rows_of_the_documented_shape() {
    let words = "bench --peers clean,fairway,nftables,kube-proxy --services 3 --workloads connect,tcp-stream,udp-rr \
                 --from pod-same-node,nodeport-local --cpus each --rounds 1 --duration 100 --warmup 20";
    let choice = Line::parse_from(words.split_whitespace()).choice;
    let extra = Extra { kube_proxy: Some("not asked for".into()) };
    let report = run(&choice, &extra).unwrap();
    let skipped: Vec<String> = report.skipped().map(|row| format!("{}: {}", row.peer, row.skipped)).collect();
    assert_eq!(skipped, ["kube-proxy: not asked for"]);
    assert_eq!(report.figures().count(), 3 * 3 * 2);
    for row in report.figures() {
        assert!(row.p50_us > 0.0 && row.p50_us <= row.p99_us && row.ops > 0.0, "{row:?}");
        assert!(row.cpu_us_per_op > 0.0 && row.ratio_to_clean.unwrap() > 0.0, "{row:?}");
        assert!(row.rounds.len() == 1 && row.services == 3, "{row:?}");
    }
    let again: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(again, report);
    assert!(table::tables(&report, Style::Text).contains("fairway"));
    assert!(html::page(&report).contains("</svg>"));
}

#[test]
fn a_control_plane_with_a_few_agents_becomes_rows_of_the_documented_shape() {
    let file = std::env::temp_dir().join(format!("fairway-bench-control-{}.json", std::process::id()));
    let words = "control --quick --agents 7 --services 60 --endpoints 300 --churn 10,30 --seconds 1 --json";
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway-bench"));
    let child = command.args(words.split(' ')).arg(&file).stderr(Stdio::piped()).spawn().unwrap();
    let netns = format!("/run/netns/fairway-many-{}", child.id());
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    std::fs::remove_file(file).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, churn) in rows.iter().zip([10, 30]) {
        let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} of {row}"));
        let shape = ["agents", "services", "endpoints", "churn_per_s", "changes", "lost"]
            .map(|name| number(name) as u32);
        assert_eq!(shape, [7, 60, 300, churn, churn, 0], "{row}");
        for name in
            ["rss_mib", "cpu_percent", "p50_ms", "p99_ms", "agent_p99_ms", "bytes_per_agent", "snapshot_s"]
        {
            assert!(number(name) > 0.0, "{name} of {row}");
        }
        assert!(number("p50_ms") <= number("p99_ms") && number("snapshot_bytes") > 10_000.0, "{row}");
    }
    assert!(!Path::new(&netns).exists(), "{netns} stays");
}
