//! Puts back what somebody removed from the kernel: links, filters, pins, table entries.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::node::Shared;
use crate::sync::chain;

/// How often links, filters and pins are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How long a repair is shown.
const SHOWN: Duration = Duration::from_secs(600);
/// How many are kept to be shown.
const KEPT: usize = 32;

/// What was put back lately, and what could not be.
#[derive(Debug, Default)]
pub struct Repairs {
    lately: Mutex<VecDeque<(Instant, String)>>,
    notes: Mutex<Vec<(&'static str, String)>>,
}

impl Repairs {
    /// Something was put back.
    pub(crate) fn note(&self, line: String) {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        lately.push_front((Instant::now(), line));
        lately.truncate(KEPT);
    }

    /// Something is not as it should be until the next word about it; none: it is.
    pub(crate) fn set(&self, about: &'static str, line: Option<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.retain(|(other, _)| *other != about);
        notes.extend(line.map(|line| (about, line)));
    }

    /// What is not as it should be, then what was put back in the last minutes, the newest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = lately
            .iter()
            .filter(|(at, _)| at.elapsed() < SHOWN)
            .map(|(at, line)| format!("{line}, {} s ago", at.elapsed().as_secs()));
        notes.iter().map(|(_, line)| line.clone()).chain(recent).collect()
    }
}

/// Looks and repairs until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        let datapath = shared.datapath.clone();
        let repaired = tokio::task::spawn_blocking(move || {
            let mut datapath = datapath.lock().unwrap_or_else(PoisonError::into_inner);
            let (repaired, mut failed) = datapath.repair();
            failed.extend(datapath.tidy().err());
            (repaired, failed)
        });
        let Ok((repaired, failed)) = repaired.await else { continue };
        for repair in repaired {
            warn!("{repair}");
            shared.metrics.repaired(repair.what());
            shared.repairs.note(repair.to_string());
        }
        let failed = failed.iter().map(|error| format!("cannot be put back: {}", chain(error)));
        shared.repairs.set("kernel", failed.reduce(|all, line| format!("{all}; {line}")));
    }
}
