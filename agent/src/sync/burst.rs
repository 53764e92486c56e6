//! When a sync is due.

use std::time::{Duration, Instant};

/// Bursts of changes become one sync in this time; a single change waits for nothing.
pub(super) const BURST: Duration = Duration::from_millis(10);

/// Now, by the runtime's clock: where a test has taken that over, no other clock says when things are due.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits for a moment; one that has come is not waited for, since the runtime's timers are up to a millisecond late.
pub(super) async fn reached(at: Option<Instant>) {
    if let Some(at) = at.filter(|at| *at > now()) {
        tokio::time::sleep_until(at.into()).await;
    }
}

/// When a change that came now is applied: at once, unless it belongs to a burst.
pub(super) fn due(now: Instant, last_sync: Option<Instant>) -> Instant {
    last_sync.map_or(now, |last| now.max(last + BURST))
}
