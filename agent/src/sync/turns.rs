//! Which of several control planes is tried next, and when.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Many agents lose one control plane at the same moment: within this time they come to the next one.
const SPREAD: Duration = Duration::from_millis(250);
/// After all of the list have failed, it is tried again after this time, and after twice as long each time.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Whose turn it is. The agent stays where it is served, wherever it began.
#[derive(Debug)]
pub(super) struct Turns {
    places: usize,
    place: usize,
    /// Failures since one has served.
    failed: usize,
    retry: Duration,
}

impl Turns {
    /// Begins with a place that differs with the node's name, so that agents spread.
    pub(super) fn new(places: usize, node: &str) -> Self {
        let places = places.max(1);
        let mut hasher = DefaultHasher::new();
        node.hash(&mut hasher);
        // The remainder is below a usize.
        let place = (hasher.finish() % places as u64) as usize;
        Self { places, place, failed: 0, retry: FIRST_RETRY }
    }

    /// The place to try.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// The place has served a state.
    pub(super) fn served(&mut self) {
        self.failed = 0;
        self.retry = FIRST_RETRY;
    }

    /// It is the next one's turn; returns how long to wait before.
    pub(super) fn failed(&mut self) -> Duration {
        self.place = (self.place + 1) % self.places;
        self.failed += 1;
        if !self.failed.is_multiple_of(self.places) {
            return SPREAD.mul_f64(fastrand::f64());
        }
        let wait = self.retry.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.retry = (self.retry * 2).min(LAST_RETRY);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_spread_over_the_places_and_each_begins_where_it_began_before() {
        let mut begin = [0; 3];
        for node in 0..300 {
            let name = format!("node-{node}");
            assert_eq!(Turns::new(3, &name).place(), Turns::new(3, &name).place());
            begin[Turns::new(3, &name).place()] += 1;
        }
        assert!(begin.iter().all(|agents| (70..130).contains(agents)), "{begin:?}");
    }

    #[test]
    fn the_next_place_is_tried_at_once_until_all_have_failed() {
        let mut turns = Turns::new(3, "a");
        let first = turns.place();
        let mut longest = FIRST_RETRY;
        for _round in 0..12 {
            for step in 1..=3 {
                let wait = turns.failed();
                assert_eq!(turns.place(), (first + step) % 3);
                if step < 3 {
                    assert!(wait < SPREAD);
                } else {
                    assert!(wait >= longest / 2 && wait < longest, "{wait:?}");
                }
            }
            longest = (longest * 2).min(LAST_RETRY);
        }
        assert_eq!(longest, LAST_RETRY);
    }

    #[test]
    fn who_is_served_stays_there_and_is_patient_no_more() {
        let mut turns = Turns::new(2, "a");
        let first = turns.place();
        for _ in 0..9 {
            turns.failed();
        }
        assert_ne!(turns.place(), first);
        turns.served();
        assert_ne!(turns.place(), first);
        assert!(turns.failed() < SPREAD);
        assert!(turns.failed() < FIRST_RETRY);
    }

    #[test]
    fn a_place_without_others_is_tried_again_later_and_later() {
        let mut turns = Turns::new(1, "a");
        assert!(turns.failed() >= FIRST_RETRY / 2);
        assert!(turns.failed() >= FIRST_RETRY);
        assert_eq!(turns.place(), 0);
    }
}
