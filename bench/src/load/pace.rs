//! When operations begin, and from when their time counts.
//!
//! In a closed loop the next operation begins when the last one ends: its time is counted from its beginning, and a pause
//! of the server makes fewer operations, not slower ones. At a fixed rate operations are due at fixed times: one that
//! begins late, because others took long, counts from when it was due. So the time that it would have waited is not left
//! out (coordinated omission).

use std::time::{Duration, Instant};

/// The pace of a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    Closed,
    /// The next operation is due then; time between two.
    Fixed(Instant, Duration),
}

impl Pace {
    /// A closed loop, or so many operations a second from `start` on.
    pub(super) fn new(rate: Option<f64>, start: Instant) -> Self {
        match rate {
            Some(rate) if rate > 0.0 => Self::Fixed(start, Duration::from_secs_f64(1.0 / rate)),
            _ => Self::Closed,
        }
    }

    /// From when the time of the next operation counts; it may be in the future.
    pub(super) fn due(&mut self, now: Instant) -> Instant {
        match self {
            Self::Closed => now,
            Self::Fixed(due, every) => {
                let this = *due;
                *due += *every;
                this
            }
        }
    }

    /// Waits until the next operation is due, and says from when its time counts. A pinned client has its CPU for itself
    /// or shares it with the server: it sleeps long waits, and spins the last of them.
    pub(super) fn wait(&mut self) -> Instant {
        let due = self.due(Instant::now());
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return due;
            }
            if left > Duration::from_micros(200) {
                std::thread::sleep(left - Duration::from_micros(150));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::new_histogram;

    /// A server that answers in 1 ms, but once stands still for a second; the clock is made up.
    fn served(mut pace: Pace, start: Instant) -> hdrhistogram::Histogram<u64> {
        let (mut now, mut times) = (start, new_histogram());
        for number in 0..1000 {
            let due = pace.due(now);
            now = now.max(due) + Duration::from_millis(if number == 100 { 1000 } else { 1 });
            times.saturating_record((now - due).as_nanos().try_into().unwrap());
        }
        times
    }

    #[test]
    fn at_a_fixed_rate_a_pause_of_the_server_counts_for_all_that_were_due_in_it() {
        let start = Instant::now();
        let times = served(Pace::new(Some(500.0), start), start);
        // 500 operations were due in the pause, and all after it waited too until the server had caught up.
        assert!(times.value_at_quantile(0.9) > 500_000_000, "{}", times.value_at_quantile(0.9));
        assert!(times.value_at_quantile(0.05) <= 1_001_000);
    }

    #[test]
    fn in_a_closed_loop_a_pause_of_the_server_is_one_slow_operation() {
        let start = Instant::now();
        let times = served(Pace::new(None, start), start);
        assert!(times.value_at_quantile(0.99) <= 1_001_000);
        assert!(times.max() >= 1_000_000_000);
    }

    #[test]
    fn operations_at_a_fixed_rate_are_due_at_equal_distances() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(1000.0), start);
        let late = start + Duration::from_secs(1);
        assert_eq!(pace.due(late), start);
        assert_eq!(pace.due(late), start + Duration::from_millis(1));
    }
}
