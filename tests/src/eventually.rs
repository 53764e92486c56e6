//! Waiting for a state instead of for a time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks again until `wanted` holds, for at most ten seconds; the error carries what was seen last.
///
/// # Errors
/// The last value, when it never was the wanted one.
pub async fn eventually<T: Debug, F: Future<Output = T>>(
    what: &str,
    ask: impl FnMut() -> F,
    wanted: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    eventually_within(Duration::from_secs(10), what, ask, wanted).await
}

/// As [`eventually`], for at most `limit`.
///
/// # Errors
/// The last value, when it never was the wanted one.
pub async fn eventually_within<T: Debug, F: Future<Output = T>>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
    wanted: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let value = ask().await;
        if wanted(&value) {
            return Ok(value);
        }
        if start.elapsed() > limit {
            anyhow::bail!("{what}: not within {limit:?}; last: {value:?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
