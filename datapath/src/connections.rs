//! Connections that are translated on the wire, and what clients keep: listed, ended, collected.
//!
//! Nothing here needs the data path's lock: the kernel's programs write these tables at any time, so every deletion
//! looks again at what it deletes.

mod affinity;
mod pairs;
mod peers;
mod sweep;
mod timeouts;
mod tracker;

use std::time::Duration;

use fairway_common::conntrack::tick;

pub use affinity::{Affinity, Client};
pub(crate) use pairs::Keyed;
pub use peers::Socket;
pub use timeouts::Timeouts;
pub use tracker::{Collected, ConnectionKey, Tracker};

/// Now, on the clock of connection tracking.
fn now() -> u32 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE)
        .map_or(Duration::ZERO, Duration::from);
    tick(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// Steps of that clock.
fn ticks(count: u32) -> Duration {
    Duration::from_nanos(u64::from(count) << 30)
}
