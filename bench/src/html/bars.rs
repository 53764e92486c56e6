//! Bars: the ratio to `clean` of every peer, workload by workload.

use super::plot::{Plot, Scale};
use super::{Drawing, colour, escaped, grouped, place};
use crate::report::{Figures, Report};

const HEIGHT: f64 = 330.0;
const BAR: f64 = 20.0;
/// Bars above that are cut, with their number on top.
const HIGHEST: f64 = 2.5;

/// One drawing for each place and kind of figure.
pub(super) fn drawings(report: &Report, peers: &[String]) -> Vec<Drawing> {
    let rows: Vec<&Figures> = report.figures().filter(|row| row.ratio_to_clean.is_some()).collect();
    let mut all = Vec::new();
    for (title, rows) in grouped(&rows, |row| format!("{} ({})", place(row), row.ratio_of)) {
        let workloads = grouped(&rows, |row| row.workload.clone());
        // Alone, `clean` is 1 and says nothing.
        if rows.iter().any(|row| row.peer != "clean") {
            let is_time = rows[0].ratio_of == "p50";
            let (what, better) = if is_time { ("median time", "lower") } else { ("throughput", "higher") };
            let caption =
                format!("The {what} as a ratio to plain forwarding in the same round; {better} is better.");
            let title = title.replace(" (p50)", ": time").replace(" (ops)", ": throughput");
            all.push(Drawing { title, caption, svg: draw(&workloads, peers) });
        }
    }
    all
}

fn draw(workloads: &[(String, Vec<&Figures>)], peers: &[String]) -> String {
    let of_all = workloads.iter().flat_map(|(_, rows)| rows);
    let highest = of_all.filter_map(|row| row.ci_high.or(row.ratio_to_clean)).fold(1.0, f64::max);
    let highest = (highest * 1.08).min(HIGHEST);
    let shown: Vec<&String> = {
        let has =
            |peer: &&String| workloads.iter().any(|(_, rows)| rows.iter().any(|row| row.peer == **peer));
        peers.iter().filter(has).collect()
    };
    let group = (shown.len() as f64 + 1.2) * BAR;
    let names: f64 = peers.iter().map(|peer| 34.0 + 7.0 * peer.len() as f64).sum();
    let width = (80.0 + group * workloads.len() as f64).max(names + 80.0).max(360.0);
    let x = Scale::linear(0.0, workloads.len() as f64);
    let mut plot = Plot::new((width, HEIGHT), x, Scale::linear(0.0, highest), "ratio to clean");
    for (number, (workload, rows)) in workloads.iter().enumerate() {
        let centre = plot.x(number as f64 + 0.5);
        let left = centre - shown.len() as f64 * BAR / 2.0;
        for (place, peer) in shown.iter().enumerate() {
            if let Some(row) = rows.iter().find(|row| row.peer == **peer) {
                bar(&mut plot, left + place as f64 * BAR, row, highest);
            }
        }
        plot.below(number as f64 + 0.5, workload);
    }
    plot.level(1.0);
    plot.finish(&shown.into_iter().cloned().collect::<Vec<_>>())
}

fn bar(plot: &mut Plot, left: f64, row: &Figures, highest: f64) {
    let Some(ratio) = row.ratio_to_clean else { return };
    let (top, floor, colour) = (plot.y(ratio), plot.floor(), colour(&row.peer));
    let (low, high) = (row.ci_low.unwrap_or(ratio), row.ci_high.unwrap_or(ratio));
    let told = escaped(&format!("{}: {ratio:.3} ({low:.3} to {high:.3})", row.peer));
    let (width, height) = (BAR - 3.0, floor - top);
    plot.put(&format!(
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width}\" height=\"{height:.1}\" fill=\"{colour}\"><title>{told}</title></rect>"
    ));
    let middle = left + width / 2.0;
    if ratio > highest {
        plot.word((middle, top - 3.0), "middle", &format!("{ratio:.1}"));
        return;
    }
    let (from, to) = (plot.y(low), plot.y(high));
    plot.put(&format!(
        "<line class=\"whisker\" x1=\"{middle:.1}\" y1=\"{from:.1}\" x2=\"{middle:.1}\" y2=\"{to:.1}\"/>"
    ));
    for y in [from, to] {
        let (start, end) = (middle - 4.0, middle + 4.0);
        plot.put(&format!(
            "<line class=\"whisker\" x1=\"{start:.1}\" y1=\"{y:.1}\" x2=\"{end:.1}\" y2=\"{y:.1}\"/>"
        ));
    }
}
