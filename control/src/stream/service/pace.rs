//! How fast the messages of one stream are taken.

use std::time::Duration;

use tokio::time::Instant;

/// 200 a second: under the heaviest churn an agent answers a version every 10 ms, and a report must not wait behind that.
const EACH: Duration = Duration::from_millis(5);
/// So many may come together.
const BURST: u32 = 1_000;

/// A token bucket, told by the moment at which it is full again.
#[derive(Debug)]
pub(super) struct Pace {
    full: Instant,
}

impl Pace {
    /// A full one.
    pub(super) fn new(now: Instant) -> Self {
        Self { full: now }
    }

    /// Takes a token; how long its message has to wait for that.
    pub(super) fn take(&mut self, now: Instant) -> Duration {
        self.full = self.full.max(now) + EACH;
        (self.full - now).saturating_sub(EACH * BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_comes_at_its_pace() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!((0..BURST).all(|_| pace.take(start).is_zero()));
        assert_eq!(pace.take(start), EACH);
        assert_eq!(pace.take(start + EACH), EACH);
        // What was waited for is not taken twice.
        assert!(pace.take(start + EACH * 4).is_zero());
        let later = start + Duration::from_secs(60);
        assert!((0..BURST).all(|_| pace.take(later).is_zero()));
        assert_eq!(pace.take(later), EACH);
    }
}
