//! Every round of every peer: whether the machine was steady while it measured.

use super::curves::shown;
use super::plot::{Plot, Scale};
use super::{Drawing, grouped, place};
use crate::report::{Figures, Report, Round};
use crate::table::{grouped as thousands, micros};

const HEIGHT: f64 = 300.0;

/// One drawing for each cell.
pub(super) fn drawings(report: &Report, peers: &[String]) -> Vec<Drawing> {
    let rows: Vec<&Figures> = report.figures().collect();
    let groups = grouped(&rows, |row| format!("{}: {}, {} backends", row.workload, place(row), row.backends));
    groups
        .into_iter()
        .map(|(title, rows)| {
            let what = if rows[0].ratio_of == "p50" { "Median time" } else { "Operations a second" };
            let caption =
                format!("{what} of each round; a slow minute of the machine is a dip of all peers.");
            Drawing { title, caption, svg: draw(&rows, peers) }
        })
        .collect()
}

fn draw(rows: &[&Figures], peers: &[String]) -> String {
    let is_time = rows[0].ratio_of == "p50";
    let value = |round: &Round| if is_time { round.p50_us } else { round.ops };
    let all = || rows.iter().flat_map(|row| row.rounds.iter().map(value));
    let count = rows.iter().map(|row| row.rounds.len()).max().unwrap_or(1);
    let x = Scale::linear(0.0, count as f64 + 1.0);
    let y = Scale::linear(0.0, all().fold(0.0, f64::max) * 1.1);
    let mut plot = Plot::new((560.0, HEIGHT), x, y, if is_time { "p50, µs" } else { "operations a second" });
    for round in 1..=count {
        plot.below(round as f64, &round.to_string());
    }
    plot.title_below("round");
    let shown = shown(rows, peers);
    for row in rows {
        // Side by side within a round, so that no point hides another.
        let place = shown.iter().position(|peer| *peer == row.peer).unwrap_or_default();
        let aside = (place as f64 + 0.5) / shown.len() as f64 - 0.5;
        for (number, round) in row.rounds.iter().enumerate() {
            let value = value(round);
            let text = if is_time { micros(value) } else { thousands(value) };
            let at = (number as f64 + 1.0 + aside * 0.6, value);
            plot.dot(&row.peer, at, &format!("{}, round {}: {text}", row.peer, number + 1));
        }
    }
    plot.finish(&shown)
}
