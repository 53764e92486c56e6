//! `[PEER:]WORKLOAD.METRIC > +N%`: what may not happen from one report to the next.

use std::fmt;
use std::str::FromStr;

use crate::report::Figures;
use crate::stats::Estimate;

/// A figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// `p50`
    P50,
    /// `p90`
    P90,
    /// `p99`
    P99,
    /// `ops`: operations a second
    Ops,
    /// `cpu`: CPU time of an operation
    Cpu,
    /// `ratio`: to `clean`
    Ratio,
}

const METRICS: [(&str, Metric); 6] = [
    ("p50", Metric::P50),
    ("p90", Metric::P90),
    ("p99", Metric::P99),
    ("ops", Metric::Ops),
    ("cpu", Metric::Cpu),
    ("ratio", Metric::Ratio),
];

/// What is wrong with a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConditionError {
    /// Neither `>` nor `<`.
    #[error("`{0}` has no `>` and no `<`: write for instance 'connect.p99 > +5%'")]
    Comparison(String),
    /// Not `WORKLOAD.METRIC`.
    #[error("`{0}` is not WORKLOAD.METRIC, such as connect.p99 or *.ops")]
    Subject(String),
    /// Not a metric.
    #[error("there is no metric `{0}`: use p50, p90, p99, ops, cpu or ratio")]
    Metric(String),
    /// Not a change in percent.
    #[error("`{0}` is not a change such as +5% or -3.5%")]
    Change(String),
}

/// A condition that fails a comparison where it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    peer: Option<String>,
    /// `*`: any.
    workload: String,
    metric: Metric,
    /// The change must be above the threshold; otherwise below.
    above: bool,
    /// 0.05 is 5 %.
    threshold: f64,
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = text.find(['>', '<']).ok_or_else(|| ConditionError::Comparison(text.into()))?;
        let (subject, rest) = text.split_at(place);
        let (above, change) = (rest.starts_with('>'), rest[1..].trim());
        let subject = subject.trim();
        let wrong = || ConditionError::Subject(subject.into());
        let (peer, what) = match subject.split_once(':') {
            Some((peer, what)) => (Some(peer.trim().to_owned()), what),
            None => (None, subject),
        };
        let (workload, metric) = what.trim().rsplit_once('.').ok_or_else(wrong)?;
        if workload.is_empty() || peer.as_deref() == Some("") {
            return Err(wrong());
        }
        let found = METRICS.iter().find(|(name, _)| *name == metric);
        let (_, metric) = found.ok_or_else(|| ConditionError::Metric(metric.into()))?;
        let is_number =
            |text: &str| text.starts_with(['+', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        let percent = change.strip_suffix('%').map(str::trim).filter(|text| is_number(text));
        let percent: f64 = percent
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| ConditionError::Change(change.into()))?;
        Ok(Self {
            text: text.trim().into(),
            peer,
            workload: workload.into(),
            metric: *metric,
            above,
            threshold: percent / 100.0,
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Condition {
    /// The figure that the condition is about, if it is about that row.
    pub(super) fn metric_for(&self, row: &Figures) -> Option<Metric> {
        let of_peer = self.peer.as_ref().is_none_or(|peer| *peer == row.peer);
        (of_peer && (self.workload == "*" || self.workload == row.workload)).then_some(self.metric)
    }

    /// Whether the whole interval is beyond the threshold.
    pub(super) fn holds(&self, change: Estimate) -> bool {
        if self.above { change.low > self.threshold } else { change.high < self.threshold }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_read_with_and_without_a_peer() {
        let condition: Condition = "connect.p99 > +5%".parse().unwrap();
        assert_eq!((condition.metric, condition.above, condition.threshold), (Metric::P99, true, 0.05));
        let condition: Condition = " fairway:tcp-stream.ops<-3.5 % ".parse().unwrap();
        assert_eq!(condition.peer.as_deref(), Some("fairway"));
        assert_eq!(condition.workload, "tcp-stream");
        assert_eq!((condition.metric, condition.above, condition.threshold), (Metric::Ops, false, -0.035));
    }

    #[test]
    fn a_wrong_condition_says_what_is_wrong() {
        let error = |text: &str| text.parse::<Condition>().unwrap_err();
        assert!(matches!(error("connect.p99 5%"), ConditionError::Comparison(_)));
        assert!(matches!(error("p99 > 5%"), ConditionError::Subject(_)));
        assert!(matches!(error(".p99 > 5%"), ConditionError::Subject(_)));
        assert_eq!(error("connect.p98 > 5%"), ConditionError::Metric("p98".into()));
        for change in ["5", "%", "five%", "+%", "inf%", "NaN%"] {
            assert!(
                matches!(error(&format!("connect.p99 > {change}")), ConditionError::Change(_)),
                "{change}"
            );
        }
    }
}
