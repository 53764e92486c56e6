//! Forgets connections that are over and affinity that nobody needs, without the data path's lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fairway_datapath::{Collected, Error, Tracker};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::health::Forgotten;
use crate::node::Shared;
use crate::sync::chain;

/// How often connections are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// How often while a table is nearly full.
const PRESSED_EVERY: Duration = Duration::from_secs(1);
/// The share of a table from which on that is so.
const PRESSED: f64 = 0.8;
/// How often affinity is looked at.
const AFFINITY_EVERY: Duration = Duration::from_secs(60);

/// When to look next.
fn pause(fill: f64) -> Duration {
    if fill > PRESSED { PRESSED_EVERY } else { EVERY }
}

/// Collects until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut tracker = None;
    let mut next = Duration::ZERO;
    let mut since_affinity = Duration::ZERO;
    let mut pressed = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = stop.cancelled() => return,
        }
        since_affinity += next;
        let with_affinity = since_affinity >= AFFINITY_EVERY;
        if with_affinity {
            since_affinity = Duration::ZERO;
        }
        let (pins, timeouts) = (shared.config.bpf_root.clone(), shared.config.timeouts);
        let taken = tracker.take();
        let done = tokio::task::spawn_blocking(move || {
            let mut tracker = taken.map_or_else(|| Tracker::open(&pins), Ok)?;
            let started = Instant::now();
            let collected = tracker.collect(&timeouts)?;
            let took = started.elapsed();
            let affinity = if with_affinity { tracker.collect_affinity()? } else { 0 };
            Ok::<_, Error>((tracker, collected, took, affinity))
        });
        next = EVERY;
        match done.await {
            Ok(Ok((opened, collected, took, affinity))) => {
                shared.metrics.conntrack_collected(took, stale(&collected));
                tracker = Some(opened);
                next = pause(collected.fill);
                note(&shared, collected, affinity, &mut pressed);
            }
            Ok(Err(error)) => warn!("connections that are over: {}", chain(&error)),
            Err(_) => {}
        }
    }
}

/// What kube-proxy removes too: datagrams to backends that are gone.
fn stale(collected: &Collected) -> Forgotten {
    let v6 = collected.stale_v6;
    Forgotten { v4: (collected.stale - v6) as u64, v6: v6 as u64 }
}

fn note(shared: &Shared, collected: Collected, affinity: usize, pressed: &mut bool) {
    let Collected { silent, stale, overflow, fill, .. } = collected;
    let counts = [("silent", silent), ("stale", stale), ("affinity", affinity)];
    for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        shared.metrics.collected(what, count as u64);
    }
    if silent + stale + affinity > 0 {
        debug!(silent, stale, affinity, "connections that are over are forgotten");
    }
    if overflow > 0 {
        debug!(overflow, "entries found conntrack full");
    }
    if (fill > PRESSED) != *pressed {
        *pressed = !*pressed;
        let share = fill * 100.0;
        if *pressed {
            warn!(
                "conntrack is {share:.0} % full: `fairway conntrack top` says of what; looked at every second"
            );
        } else {
            info!("conntrack is {share:.0} % full again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // S53
    #[test]
    fn a_table_that_fills_up_is_looked_at_every_second() {
        assert_eq!([0.0, 0.8, 0.81, 1.0].map(|fill| pause(fill).as_secs()), [10, 10, 1, 1]);
    }
}
