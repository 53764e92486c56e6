//! Medians, their confidence intervals, and ratios within rounds.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How many samples a confidence interval is drawn from.
const RESAMPLES: usize = 2000;

/// A median with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// The median; of an even number of values, the middle of the two in the middle. None of no values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[sorted.len() / 2 - 1], upper)
    } else {
        upper
    })
}

/// The median of rounds, and in which interval it would lie 19 times of 20 if the rounds were drawn again from those that
/// were seen (percentile bootstrap). The draw is seeded: the same rounds give the same interval. One round says nothing
/// about the spread: the interval is the value itself.
#[must_use]
pub fn estimate(rounds: &[f64]) -> Option<Estimate> {
    let centre = median(rounds)?;
    let mut random = StdRng::seed_from_u64(1);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let drawn: Vec<f64> =
                rounds.iter().map(|_| rounds[random.random_range(0..rounds.len())]).collect();
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    // 2.5 % of the samples are left out at each end.
    let out = RESAMPLES / 40;
    Some(Estimate { median: centre, low: medians[out], high: medians[RESAMPLES - 1 - out] })
}

/// The ratio of a peer to another within each round, for the rounds that both have.
#[must_use]
pub fn ratios(peer: &[Option<f64>], other: &[Option<f64>]) -> Vec<f64> {
    let both = peer.iter().zip(other).filter_map(|(peer, other)| Some((peer.as_ref()?, other.as_ref()?)));
    both.filter(|(_, other)| **other > 0.0).map(|(peer, other)| peer / other).collect()
}

#[cfg(test)]
mod tests;
