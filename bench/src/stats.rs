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
    let medians = (0..RESAMPLES).filter_map(|_| {
        let drawn: Vec<f64> = rounds.iter().map(|_| rounds[random.random_range(0..rounds.len())]).collect();
        median(&drawn)
    });
    Some(interval(centre, medians.collect()))
}

/// How much the median of `after` is above that of `before`, as a share of it: 0.05 is 5 % more. Both are drawn again for
/// the interval, as by [`estimate`]. None where either has no rounds.
#[must_use]
pub fn change(before: &[f64], after: &[f64]) -> Option<Estimate> {
    let relative = |before: f64, after: f64| after / before - 1.0;
    let centre = relative(median(before)?, median(after)?);
    let mut random = StdRng::seed_from_u64(1);
    let mut draw = |rounds: &[f64]| {
        let drawn: Vec<f64> = rounds.iter().map(|_| rounds[random.random_range(0..rounds.len())]).collect();
        median(&drawn)
    };
    let samples = (0..RESAMPLES).filter_map(|_| Some(relative(draw(before)?, draw(after)?)));
    Some(interval(centre, samples.collect()))
}

/// The middle 95 % of the samples.
fn interval(median: f64, mut samples: Vec<f64>) -> Estimate {
    samples.sort_by(f64::total_cmp);
    // 2.5 % are left out at each end.
    let out = samples.len() / 40;
    let at = |place: usize| samples.get(place).copied().unwrap_or(median);
    Estimate { median, low: at(out), high: at(samples.len().saturating_sub(1 + out)) }
}

/// The ratio of a peer to another within each round, for the rounds that both have.
#[must_use]
pub fn ratios(peer: &[Option<f64>], other: &[Option<f64>]) -> Vec<f64> {
    let both = peer.iter().zip(other).filter_map(|(peer, other)| Some((peer.as_ref()?, other.as_ref()?)));
    both.filter(|(_, other)| **other > 0.0).map(|(peer, other)| peer / other).collect()
}

#[cfg(test)]
mod tests;
