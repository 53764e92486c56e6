//! Two reports beside each other.

mod condition;

use comfy_table::{CellAlignment, Table, presets};

pub use condition::{Condition, ConditionError, Metric};

use crate::report::{Figures, Report, Round};
use crate::stats::{Estimate, change};

/// A condition that holds somewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// As it was given.
    pub condition: String,
    /// Who.
    pub peer: String,
    /// In which cell.
    pub cell: String,
    /// By how much it changed: 0.05 is 5 % more.
    pub change: Estimate,
}

/// Rows that both reports have.
fn pairs<'a>(before: &'a Report, after: &'a Report) -> Vec<(&'a Figures, &'a Figures)> {
    let same = |a: &Figures, b: &Figures| a.peer == b.peer && a.cell() == b.cell();
    after.figures().filter_map(|b| Some((before.figures().find(|a| same(a, b))?, b))).collect()
}

/// How much a figure changed from one report to the other, with its 95 % interval. None where a row lacks the figure.
fn changed(metric: Metric, before: &Figures, after: &Figures) -> Option<Estimate> {
    let of = |figures: &Figures| -> Vec<f64> {
        figures.rounds.iter().filter_map(|round| metric.of(round)).filter(|value| *value > 0.0).collect()
    };
    change(&of(before), &of(after))
}

/// Where the conditions hold for the whole interval: what may be chance breaks nothing.
#[must_use]
pub fn broken(before: &Report, after: &Report, conditions: &[Condition]) -> Vec<Broken> {
    let mut all = Vec::new();
    for condition in conditions {
        for (a, b) in pairs(before, after) {
            let Some(change) = condition.metric_for(b).and_then(|metric| changed(metric, a, b)) else {
                continue;
            };
            if condition.holds(change) {
                let (peer, cell) = (b.peer.clone(), b.cell());
                all.push(Broken { condition: condition.to_string(), peer, cell, change });
            }
        }
    }
    all
}

/// Conditions that no row of both reports is about.
#[must_use]
pub fn unused<'a>(before: &Report, after: &Report, conditions: &'a [Condition]) -> Vec<&'a Condition> {
    let pairs = pairs(before, after);
    let is_used = |condition: &Condition| pairs.iter().any(|(_, b)| condition.metric_for(b).is_some());
    conditions.iter().filter(|condition| !is_used(condition)).collect()
}

/// What changed, as a table. A change within its interval of zero is none.
#[must_use]
pub fn table(before: &Report, after: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["cell", "peer", "p50", "p99", "ops/s", "CPU/op", "ratio to clean"]);
    let metrics = [Metric::P50, Metric::P99, Metric::Ops, Metric::Cpu, Metric::Ratio];
    for (a, b) in pairs(before, after) {
        let cells = metrics.map(|metric| changed(metric, a, b).map_or("-".into(), text));
        table.add_row([b.cell(), b.peer.clone()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// `+5.1 %`, or `~` where the interval holds zero.
fn text(change: Estimate) -> String {
    if change.low <= 0.0 && change.high >= 0.0 {
        "~".into()
    } else {
        format!("{:+.1} %", change.median * 100.0)
    }
}

impl Metric {
    fn of(self, round: &Round) -> Option<f64> {
        Some(match self {
            Self::P50 => round.p50_us,
            Self::P90 => round.p90_us,
            Self::P99 => round.p99_us,
            Self::Ops => round.ops,
            Self::Cpu => round.cpu_us_per_op,
            Self::Ratio => return round.ratio_to_clean,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;

    fn report(times: &[f64]) -> Report {
        let round = |time: &f64| Round { p99_us: *time, p50_us: time / 2.0, ops: 1.0, ..Round::default() };
        let rounds = times.iter().map(round).collect();
        let figures =
            Figures { peer: "fairway".into(), workload: "connect".into(), rounds, ..Figures::default() };
        Report { rows: vec![Row::Measured(Box::new(figures))], ..Report::default() }
    }

    fn holds(condition: &str, before: &[f64], after: &[f64]) -> bool {
        !broken(&report(before), &report(after), &[condition.parse().unwrap()]).is_empty()
    }

    const STEADY: [f64; 5] = [100.0, 101.0, 99.0, 100.0, 100.0];

    #[test]
    fn a_clear_change_breaks_the_condition() {
        assert!(holds("connect.p99 > +5%", &STEADY, &[110.0, 111.0, 109.0, 110.0, 112.0]));
        assert!(holds("connect.p99 < -5%", &STEADY, &[80.0, 81.0, 80.0, 80.0, 79.0]));
    }

    #[test]
    fn a_change_that_may_be_chance_does_not() {
        assert!(!holds("connect.p99 > +5%", &STEADY, &[99.0, 140.0, 100.0, 108.0, 101.0]));
        assert!(!holds("connect.p99 > +5%", &STEADY, &[103.0, 104.0, 103.0, 103.0, 102.0]));
    }

    #[test]
    fn a_condition_about_nothing_that_was_measured_is_noticed() {
        let (a, b) = (report(&STEADY), report(&STEADY));
        let conditions = ["crr.p99 > +5%".parse().unwrap(), "*.p99 > +5%".parse().unwrap()];
        assert_eq!(unused(&a, &b, &conditions), [&conditions[0]]);
    }

    #[test]
    fn changes_within_chance_are_not_told_as_numbers() {
        let text = table(&report(&STEADY), &report(&[99.0, 101.0, 100.0, 100.0, 101.0]));
        assert!(text.lines().nth(1).unwrap().contains('~'), "{text}");
    }
}
