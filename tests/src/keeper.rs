//! The process behind a lab that is up: it starts control plane and agents, and plays the kubelet of every node.

mod capabilities;
mod kubelet;
mod pod;
mod probe;
mod processes;
mod server;

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use notify::Watcher;
use tokio::sync::mpsc;

use crate::lab::{Manifests, Runtime, State, binaries};
use crate::runtime::Containerd;
use kubelet::Kubelet;
use processes::{CONTAINERD, Processes};

/// Keeps the lab `id` until it is killed, or the process that owns the lab ends.
///
/// # Errors
/// The lab's files or sockets cannot be used.
pub async fn keep(id: &str) -> anyhow::Result<()> {
    let state = Arc::new(State::load(id).with_context(|| format!("no lab `{id}`"))?);
    let processes = Arc::new(Processes::new(state.clone()));
    let broken = Arc::new(Mutex::new(Vec::new()));
    let kubelet = Arc::new(Kubelet::new(state.clone(), processes.clone()));
    processes.start("control")?;
    for node in state.plan.node_names() {
        processes.start(&node)?;
        if state.runtime == Runtime::Containerd {
            processes.start(&format!("{CONTAINERD}{node}"))?;
            tokio::spawn(import_images(state.clone(), node));
        }
    }
    let manifests = Manifests::new(state.manifests(), state.plan);
    let (changed, mut changes) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the files is an event too; and one change that waits stands for all.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            changed.try_send(()).ok();
        }
    })?;
    watcher.watch(manifests.directory(), notify::RecursiveMode::NonRecursive)?;
    sync(&manifests, &broken, &kubelet);
    // Whoever gets an answer sees all pods, even if none is ready yet.
    let server = server::serve(state.clone(), processes.clone(), kubelet.clone(), broken.clone());
    tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!("the lab's socket: {error}");
        }
    });
    let mut owner_check = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = changes.recv() => sync(&manifests, &broken, &kubelet),
            _ = owner_check.tick() => if state.owner.is_some_and(|owner| !owner.alive()) {
                tracing::info!("the lab's owner is gone");
                return Err(become_down(id));
            }
        }
    }
}

/// Tries until the node's containerd listens and has them.
async fn import_images(state: Arc<State>, node: String) {
    let containerd = Containerd::of(&state, &node);
    while let Err(error) = containerd.import_images().await {
        tracing::info!("images of {node}: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Becomes the command that removes the lab, so that no task of this process makes anything meanwhile; returns only when
/// that fails.
fn become_down(id: &str) -> anyhow::Error {
    let command = binaries().map(|directory| Command::new(directory.join("fairway-lab")));
    command.map_or_else(Into::into, |mut command| command.args(["down", "--id", id]).exec().into())
}

/// Makes the pods what the manifests say, and notes manifests that say nothing.
fn sync(manifests: &Manifests, broken: &Mutex<Vec<String>>, kubelet: &Kubelet) {
    let (objects, errors) = manifests.all();
    let errors: Vec<String> = errors.iter().map(|error| in_one_line(error)).collect();
    kubelet.sync(&objects, errors.is_empty());
    if *lock(broken) != errors {
        errors.iter().for_each(|error| tracing::warn!("{error}"));
        *lock(broken) = errors;
    }
}

/// The error with its causes.
fn in_one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
