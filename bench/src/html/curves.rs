//! Curves: the distribution of times, and what becomes of ratio and CPU time with more Services.

use super::plot::{Plot, Scale, number};
use super::{Drawing, grouped, place};
use crate::report::{Figures, Report};
use crate::table::micros;

const SIZE: (f64, f64) = (640.0, 340.0);

/// Times by the share of operations that took at most as long; the share's axis is stretched towards all.
pub(super) fn percentiles(report: &Report, peers: &[String]) -> Vec<Drawing> {
    // wrk tells four points of its distribution, and of streams the times are those of the socket's buffer.
    let rows: Vec<&Figures> = report.figures().filter(|row| row.ratio_of == "p50").collect();
    let groups = grouped(&rows, |row| format!("{}: {}", row.workload, place(row)));
    groups
        .into_iter()
        .map(|(title, rows)| {
            let caption =
                "How long operations took, of all rounds together; to the right the slowest ones.".into();
            Drawing { title, caption, svg: distribution(&rows, peers) }
        })
        .collect()
}

fn distribution(rows: &[&Figures], peers: &[String]) -> String {
    let times = || rows.iter().flat_map(|row| row.percentiles.iter().map(|(_, time)| *time));
    let last =
        rows.iter().flat_map(|row| row.percentiles.iter().map(|(share, _)| *share)).fold(0.9, f64::max);
    // 0.9 is 10, 0.99 is 100: one of how many is slower.
    let one_of = |share: f64| 1.0 / (1.0 - share);
    let y = Scale::log(times().fold(f64::MAX, f64::min) * 0.9, times().fold(0.0, f64::max) * 1.1);
    let mut plot = Plot::new(SIZE, Scale::log(1.0, one_of(last)), y, "µs");
    for share in
        [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999].into_iter().filter(|share| *share <= last + 1e-9)
    {
        plot.below(one_of(share), &format!("{} %", number_of_percent(share)));
    }
    plot.title_below("share of operations");
    for row in rows {
        let points: Vec<(f64, f64)> =
            row.percentiles.iter().map(|(share, time)| (one_of(*share), *time)).collect();
        plot.line(&row.peer, &points);
    }
    plot.finish(&shown(rows, peers))
}

fn number_of_percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Ratio and CPU time of an operation against the number of Services, where there are several numbers.
pub(super) fn services(report: &Report, peers: &[String]) -> Vec<Drawing> {
    let rows: Vec<&Figures> = report.figures().collect();
    let key = |row: &Figures| {
        let cpus = if row.cpus == "same" { "one CPU" } else { "a CPU each" };
        format!("{}: {}, {}, {cpus}", row.workload, row.from_name(), row.family)
    };
    let mut all = Vec::new();
    for (title, rows) in grouped(&rows, key) {
        // Another number of backends would be another curve.
        let rows: Vec<&Figures> =
            rows.iter().filter(|row| row.backends == rows[0].backends).copied().collect();
        let mut counts: Vec<u32> = rows.iter().map(|row| row.services).collect();
        counts.sort_unstable();
        counts.dedup();
        if counts.len() < 2 {
            continue;
        }
        let better = if rows[0].ratio_of == "p50" { "time: lower" } else { "throughput: higher" };
        let ratio = |row: &Figures| row.ratio_to_clean.map(|ratio| (ratio, row.ci_low, row.ci_high));
        let caption = format!("Ratio to plain forwarding by the number of Services ({better} is better).");
        let svg = against_services(&rows, peers, &counts, "ratio to clean", ratio);
        all.push(Drawing { title: title.clone(), caption, svg });
        let cpu = |row: &Figures| Some((row.cpu_us_per_op, None, None));
        let caption = "CPU time of one operation on both sides and between.".into();
        let svg = against_services(&rows, peers, &counts, "CPU µs per operation", cpu);
        all.push(Drawing { title: format!("{title}: CPU"), caption, svg });
    }
    all
}

type Value = (f64, Option<f64>, Option<f64>);

fn against_services(
    rows: &[&Figures],
    peers: &[String],
    counts: &[u32],
    unit: &str,
    value: impl Fn(&Figures) -> Option<Value>,
) -> String {
    let values: Vec<Value> = rows.iter().filter_map(|row| value(row)).collect();
    let high = values.iter().map(|(value, _, high)| high.unwrap_or(*value)).fold(0.0, f64::max);
    let ends = (f64::from(counts[0]), counts.last().map_or(1.0, |count| f64::from(*count)));
    let x = Scale::log(ends.0 * 0.7, ends.1 * 1.4);
    let mut plot = Plot::new(SIZE, x, Scale::linear(0.0, high * 1.08), unit);
    for count in counts {
        plot.below(f64::from(*count), &number(f64::from(*count)));
    }
    plot.title_below("Services");
    if unit.starts_with("ratio") {
        plot.level(1.0);
    }
    for peer in peers {
        let mut of_peer: Vec<(&Figures, Value)> =
            rows.iter().filter(|row| row.peer == *peer).filter_map(|row| Some((*row, value(row)?))).collect();
        of_peer.sort_by_key(|(row, _)| row.services);
        let points: Vec<(f64, f64)> =
            of_peer.iter().map(|(row, (value, ..))| (f64::from(row.services), *value)).collect();
        plot.line(peer, &points);
        for (row, (value, low, high)) in of_peer {
            let at = (f64::from(row.services), value);
            if let (Some(low), Some(high)) = (low, high) {
                plot.line(peer, &[(at.0, low), (at.0, high)]);
            }
            plot.dot(
                peer,
                at,
                &format!("{peer}, {} Services: {value:.3} ({})", row.services, micros(row.p50_us)),
            );
        }
    }
    plot.finish(&shown(rows, peers))
}

/// The peers that have a row.
pub(super) fn shown(rows: &[&Figures], peers: &[String]) -> Vec<String> {
    peers.iter().filter(|peer| rows.iter().any(|row| row.peer == **peer)).cloned().collect()
}
