//! When the tables are compared with what was written (S102).
//!
//! Reading large tables takes a while, and syncs go on meanwhile: what was read before one is read again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairway_datapath::table::{Image, Tables};
use nix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;

/// How often the tables are compared.
const EVERY: Duration = Duration::from_secs(10);
/// How many times the CPU time of reading and comparing it is until the next comparison: large tables are compared less often, and an
/// agent to which nothing happens takes less than a thousandth of a CPU.
const REST: u32 = 2_000;
/// So often syncs may come in between before one waits.
const PATIENCE: u32 = 3;

/// The next comparison, or the one that has begun.
pub(super) struct Audit<E> {
    at: tokio::time::Instant,
    reading: Option<JoinHandle<(Result<Image, E>, Duration)>>,
    /// CPU time that the last one took.
    cost: Duration,
    /// A sync has changed the tables since they began to be read.
    stale: bool,
    /// How often that was so.
    late: u32,
}

impl<E: Send + 'static> Audit<E> {
    pub(super) fn new() -> Self {
        let at = tokio::time::Instant::now() + EVERY;
        Self { at, reading: None, cost: Duration::ZERO, stale: false, late: 0 }
    }

    /// Waits for what there is to do: none: begin; else what was read.
    pub(super) async fn next(&mut self) -> Option<Result<Image, E>> {
        loop {
            let Some(reading) = &mut self.reading else {
                tokio::time::sleep_until(self.at).await;
                return None;
            };
            let read = reading.await;
            self.reading = None;
            if let Ok((image, cost)) = read {
                self.cost = cost;
                if !self.stale {
                    return Some(image);
                }
            }
            self.late += 1;
            self.rest();
        }
    }

    /// Begins to read.
    pub(super) fn begin<T: Tables<Error = E> + Send + 'static>(&mut self, tables: Option<Arc<Mutex<T>>>) {
        let Some(tables) = tables else { return self.rest() };
        self.stale = false;
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let start = cpu();
            let image = T::image_apart(&tables);
            (image, cpu().saturating_sub(start))
        }));
    }

    /// A sync changes the tables.
    pub(super) fn changed(&mut self) {
        self.stale = true;
    }

    /// Syncs wait until what is being read has been compared.
    pub(super) fn is_urgent(&self) -> bool {
        self.late >= PATIENCE && self.reading.is_some()
    }

    /// It was compared, in so much CPU time.
    pub(super) fn end(&mut self, compared: Duration) {
        self.late = 0;
        self.cost += compared;
        self.rest();
    }

    fn rest(&mut self) {
        self.at = tokio::time::Instant::now() + EVERY.max(self.cost * REST);
    }
}

/// What the calling thread has taken so far. Unlike the time that passes it does not grow with what others do.
pub(super) fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use fairway_datapath::table::{Op, StateVersion};

    use super::*;

    struct Empty;

    impl Tables for Empty {
        type Error = Infallible;

        fn image(&self) -> Result<Image, Infallible> {
            Ok(Image::default())
        }

        fn apply(&mut self, _: &Op) -> Result<(), Infallible> {
            Ok(())
        }

        fn begun(&self) -> Result<StateVersion, Infallible> {
            Ok(StateVersion::default())
        }

        fn begin(&mut self, _: StateVersion) -> Result<(), Infallible> {
            Ok(())
        }
    }

    /// Lets the time of the next one come.
    async fn begin(audit: &mut Audit<Infallible>) {
        audit.at = tokio::time::Instant::now();
        assert!(audit.next().await.is_none());
        audit.begin(Some(Arc::new(Mutex::new(Empty))));
    }

    // S102
    #[tokio::test]
    async fn what_was_read_before_a_sync_is_read_again_and_after_the_third_time_syncs_wait() {
        let mut audit = Audit::new();
        for _ in 0..PATIENCE {
            begin(&mut audit).await;
            assert!(!audit.is_urgent());
            audit.changed();
            let late = audit.late;
            let read = tokio::time::timeout(Duration::from_secs(1), audit.next()).await;
            assert!(read.is_err(), "nothing to compare, and the next one rests");
            assert_eq!(audit.late, late + 1);
        }
        begin(&mut audit).await;
        assert!(audit.is_urgent());
        assert!(audit.next().await.is_some_and(|image| image.is_ok()));
        audit.end(Duration::ZERO);
        begin(&mut audit).await;
        assert!(!audit.is_urgent());
    }
}
