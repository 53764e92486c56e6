//! Keeps the stream's state equal to what the source and the agents say, and tells of problems once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairway_proto::control::control_server::SERVICE_NAME;
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::Error;
use crate::controller::{Basis, Resolved, resolve, resolve_change, save};
use crate::source::{Declarations, Newest, Problem};
use crate::stream::Shared;

/// What agents tell is written to disk at most so often.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// What could not be written is tried again then.
const RETRY: Duration = Duration::from_secs(5);

/// What is followed.
pub(super) struct Followed {
    pub(super) newest: Newest,
    /// A cluster's: no part of it is served, and it may change hundreds of times a second.
    pub(super) cluster: bool,
}

/// Runs until the server stops.
pub(super) async fn follow(
    shared: Arc<Shared>,
    source: Followed,
    problems: Arc<watch::Sender<Vec<Problem>>>,
    health: HealthReporter,
) -> Result<(), Error> {
    health.set_service_status(SERVICE_NAME, ServingStatus::NotServing).await;
    let Followed { mut newest, cluster } = source;
    let mut serving = false;
    let mut told = shared.agents_changed.subscribe();
    // What the last state was computed from: nothing that agents told since.
    let mut last: Option<(Arc<Declarations>, Basis)> = None;
    loop {
        let read_again = tokio::select! {
            Ok(()) = newest.changed() => true,
            Ok(()) = told.changed() => false,
            () = shared.stop.cancelled() => return Ok(()),
        };
        let Some(declarations) = newest.borrow_and_update().clone() else { continue };
        if cluster && !declarations.complete {
            note_problems(&problems, declarations.problems.clone());
            continue;
        }
        let change = match &last {
            Some((before, basis)) if read_again && !told.has_changed().unwrap_or(true) => {
                resolve_change(before, &declarations, basis)
            }
            _ => None,
        };
        let (changes, found) = match (change, &mut last) {
            (Some((changes, problems)), Some((before, _))) => {
                before.clone_from(&declarations);
                (shared.store.apply(changes, declarations.complete), problems)
            }
            _ => {
                told.mark_unchanged();
                let agents = shared.agents().clone();
                let input = Arc::clone(&declarations);
                // Large clusters take long enough to hold up the streams.
                let resolved = tokio::task::spawn_blocking(move || resolve(&input, &agents)).await;
                let Ok(Resolved { resources, problems, basis }) = resolved else { continue };
                last = Some((Arc::clone(&declarations), basis));
                (shared.store.replace(resources, declarations.complete), problems)
            }
        };
        note_problems(&problems, found);
        let version = shared.store.newest().borrow().number;
        if read_again {
            summarize(&declarations, changes, version, serving && cluster);
        } else {
            tracing::debug!(changes, version, "agents told something new");
        }
        if !serving {
            serving = true;
            health.set_service_status(SERVICE_NAME, ServingStatus::Serving).await;
        }
    }
}

/// Keeps what the agents told on disk, until the server stops; at most once a second, and once more at the end. What cannot be
/// kept is tried again, also if they tell nothing new, and told once.
pub(super) async fn save_agents(
    shared: Arc<Shared>,
    mut told: watch::Receiver<u64>,
    path: PathBuf,
) -> Result<(), Error> {
    let mut failed = false;
    loop {
        tokio::select! {
            Ok(()) = told.changed() => {}
            () = tokio::time::sleep(RETRY), if failed => {}
            () = shared.stop.cancelled() => return Ok(()),
        }
        tokio::select! {
            () = tokio::time::sleep(SAVE_EVERY) => {}
            () = shared.stop.cancelled() => {}
        }
        told.mark_unchanged();
        let (path, agents) = (path.clone(), shared.agents().clone());
        let saved = tokio::task::spawn_blocking(move || save(&path, &agents)).await;
        match saved {
            Ok(Err(error)) if !failed => {
                failed = true;
                tracing::error!(error = &error as &dyn std::error::Error, "what the agents told is not kept");
            }
            Ok(Ok(())) if failed => {
                failed = false;
                tracing::info!("what the agents told is kept again");
            }
            _ => {}
        }
    }
}

/// Logs what is new, and what is gone.
fn note_problems(noted: &watch::Sender<Vec<Problem>>, found: Vec<Problem>) {
    let before = noted.borrow().clone();
    let old: BTreeSet<_> = before.iter().collect();
    let new: BTreeSet<_> = found.iter().collect();
    if old == new {
        return;
    }
    for problem in new.difference(&old) {
        if problem.cause.breaks_file() {
            tracing::error!("{problem}: its last good state stays in force");
        } else {
            tracing::warn!("{problem}");
        }
    }
    for problem in old.difference(&new) {
        tracing::info!("solved: {problem}");
    }
    noted.send_replace(found);
}

/// `often`: it is said at each change, and there may be many.
fn summarize(declarations: &Declarations, changes: usize, version: u64, often: bool) {
    if often {
        tracing::debug!(changes, version, "read");
        return;
    }
    let skipped: Vec<_> =
        declarations.skipped.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    tracing::info!(
        services = declarations.services.len(),
        slices = declarations.slices.len(),
        endpoints = declarations.endpoints.len(),
        pods = declarations.pods.len(),
        nodes = declarations.nodes.len(),
        skipped = skipped.join(", "),
        problems = declarations.problems.len(),
        changes,
        version,
        "read"
    );
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::controller::Agents;

    #[tokio::test]
    async fn what_could_not_be_kept_is_tried_again_though_nobody_tells_anything_new() {
        let at = tempfile::tempdir().unwrap();
        let [path, unfinished] = ["agents.json", "agents.tmp"].map(|name| at.path().join(name));
        // A pipe cannot be synced. Whoever opens its other end waits for the attempt.
        mkfifo(&unfinished, Mode::S_IRWXU).unwrap();
        let shared = Shared::new(Some(Agents::default()), Duration::ZERO, 1);
        let (tell, told) = watch::channel(0);
        let saving = tokio::spawn(save_agents(Arc::clone(&shared), told, path.clone()));
        tell.send_replace(1);
        let pipe = unfinished.clone();
        drop(tokio::task::spawn_blocking(move || File::open(pipe)).await.unwrap().unwrap());
        fs::remove_file(unfinished).unwrap();
        let kept = async {
            while !path.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(RETRY * 6, kept).await.expect("it is kept in the end");
        shared.stop.cancel();
        saving.await.unwrap().unwrap();
    }
}
