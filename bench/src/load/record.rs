//! What a block of load came to, as the client prints it and the harness reads it.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest time that is told from longer ones, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// The result of one block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Operations that succeeded.
    pub ops: u64,
    /// Operations that failed.
    pub errors: u64,
    /// What the first failure said.
    pub error: Option<String>,
    /// For how long was counted.
    pub seconds: f64,
    /// CPU time of the lab and of ksoftirqd in that time, in microseconds.
    pub cpu_us: f64,
    /// Nanoseconds and how many operations took them, to three digits.
    pub times: Vec<(u64, u64)>,
}

impl Recorded {
    /// Takes over the times of a histogram.
    pub fn set_times(&mut self, histogram: &Histogram<u64>) {
        self.times =
            histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
    }

    /// The times as a histogram again.
    #[must_use]
    pub fn histogram(&self) -> Histogram<u64> {
        let mut histogram = new_histogram();
        for (value, count) in &self.times {
            histogram.saturating_record_n(*value, *count);
        }
        histogram
    }
}

/// An empty histogram of nanoseconds, three digits.
///
/// # Panics
/// Never: the bounds are constants that fit.
#[must_use]
pub(super) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants that fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_survives_the_way_from_the_client_to_the_harness() {
        let mut histogram = new_histogram();
        for value in [40_000, 41_000, 41_000, 900_000] {
            histogram.saturating_record(value);
        }
        let mut recorded = Recorded::default();
        recorded.set_times(&histogram);
        let text = serde_json::to_string(&recorded).unwrap();
        let again: Recorded = serde_json::from_str(&text).unwrap();
        assert_eq!(again.histogram().len(), 4);
        assert_eq!(again.histogram().value_at_quantile(0.5), histogram.value_at_quantile(0.5));
    }
}
