//! A short run of the real benchmark: it proves that peers are built, take turns and become rows, and nothing about how
//! fast anything is. `./x test --suite bench`.

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
