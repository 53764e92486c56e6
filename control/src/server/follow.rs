//! Keeps the stream's state equal to what manifests and agents say, and tells of problems once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use fairway_proto::control::control_server::SERVICE_NAME;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::Error;
use crate::controller::{Resolved, resolve};
use crate::source::{Declarations, Newest, Problem};
use crate::stream::Shared;

/// Runs until the server stops.
pub(super) async fn follow(
    shared: Arc<Shared>,
    mut newest: Newest,
    problems: Arc<Mutex<Vec<Problem>>>,
    health: HealthReporter,
) -> Result<(), Error> {
    health.set_service_status(SERVICE_NAME, ServingStatus::NotServing).await;
    let mut serving = false;
    loop {
        let read_again = tokio::select! {
            Ok(()) = newest.changed() => true,
            () = shared.agents_changed.notified() => false,
            () = shared.stop.cancelled() => return Ok(()),
        };
        let Some(declarations) = newest.borrow_and_update().clone() else { continue };
        let agents = shared.agents().clone();
        let input = Arc::clone(&declarations);
        // Large clusters take long enough to hold up the streams.
        let resolved = tokio::task::spawn_blocking(move || resolve(&input, &agents)).await;
        let Ok(Resolved { resources, problems: found }) = resolved else { continue };
        note_problems(&problems, found);
        let changes = shared.store.replace(resources, declarations.complete);
        let version = shared.store.newest().borrow().number;
        if read_again {
            summarize(&declarations, changes, version, &problems);
        } else {
            tracing::debug!(changes, version, "agents told something new");
        }
        if !serving {
            serving = true;
            health.set_service_status(SERVICE_NAME, ServingStatus::Serving).await;
        }
    }
}

/// Logs what is new, and what is gone.
fn note_problems(noted: &Mutex<Vec<Problem>>, found: Vec<Problem>) {
    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
    let old: BTreeSet<_> = noted.iter().collect();
    let new: BTreeSet<_> = found.iter().collect();
    for problem in new.difference(&old) {
        if problem.cause.breaks_file() {
            tracing::error!("{problem}: the last good state of this file stays in force");
        } else {
            tracing::warn!("{problem}");
        }
    }
    for problem in old.difference(&new) {
        tracing::info!("solved: {problem}");
    }
    *noted = found;
}

fn summarize(declarations: &Declarations, changes: usize, version: u64, problems: &Mutex<Vec<Problem>>) {
    let skipped: Vec<_> =
        declarations.skipped.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    tracing::info!(
        services = declarations.services.len(),
        slices = declarations.slices.len(),
        endpoints = declarations.endpoints.len(),
        pods = declarations.pods.len(),
        nodes = declarations.nodes.len(),
        skipped = skipped.join(", "),
        problems = problems.lock().unwrap_or_else(PoisonError::into_inner).len(),
        changes,
        version,
        "manifests read"
    );
}
