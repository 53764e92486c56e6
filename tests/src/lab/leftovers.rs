//! What a container runtime that was killed leaves outside the lab's own directory: mounts, sockets of its shims,
//! results of plugins, and cgroups of the old hierarchies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use serde_json::Value;

use super::{Runtime, State, cgroup};

/// Removes all of it; the lab's processes must have ended.
pub(super) fn remove(state: &State) -> io::Result<()> {
    if state.runtime == Runtime::Containerd {
        remove_shim_sockets(state);
        remove_results(state);
    }
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let fields = |line: &str| -> Option<(PathBuf, String)> {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.into(), fields.next()?.into()))
    };
    let mounts: Vec<(PathBuf, String)> = mounts.lines().filter_map(fields).collect();
    // What was mounted last may be on top of an earlier one.
    for (path, _) in mounts.iter().rev().filter(|(path, _)| path.starts_with(state.directory())) {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::Error::EINVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for (root, _) in mounts.iter().filter(|(_, kind)| kind == "cgroup") {
        cgroup::remove_tree(&root.join(state.cgroup_name()))?;
    }
    Ok(())
}

/// Each shim's directory says where its socket is.
fn remove_shim_sockets(state: &State) {
    for node in state.plan.node_names() {
        let tasks =
            state.directory().join(node).join("containerd/state/io.containerd.runtime.v2.task/k8s.io");
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let address = fs::read_to_string(task.path().join("address")).unwrap_or_default();
            if let Some(socket) = address.strip_prefix("unix://") {
                // The shim of a sandbox serves its containers too, and one that ended in order removed it.
                fs::remove_file(Path::new(socket)).ok();
            }
        }
    }
    remove_if_empty(&["/run/containerd/s", "/run/containerd"]);
}

/// What plugins said is kept in one place for all runtimes of a machine. A namespace's path, or the network, tells whose
/// it is.
fn remove_results(state: &State) {
    let own = format!("{}/", state.directory().display());
    for file in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
        let Ok(text) = fs::read_to_string(file.path()) else { continue };
        let result: Value = serde_json::from_str(&text).unwrap_or_default();
        let of_podman = result["networkName"] == state.podman_network();
        if of_podman {
            // podman's namespaces are among all others of the machine.
            result["result"]["interfaces"].as_array().into_iter().flatten().for_each(remove_namespace);
        }
        if of_podman || text.contains(&own) {
            fs::remove_file(file.path()).ok();
        }
    }
    remove_if_empty(&["/var/lib/cni/results", "/var/lib/cni"]);
}

fn remove_namespace(interface: &Value) {
    let path = Path::new(interface["sandbox"].as_str().unwrap_or_default());
    if path.starts_with("/run/netns") {
        umount2(path, MntFlags::MNT_DETACH).ok();
        fs::remove_file(path).ok();
    }
}

/// What others have there keeps a directory.
fn remove_if_empty(directories: &[&str]) {
    for directory in directories {
        fs::remove_dir(directory).ok();
    }
}
