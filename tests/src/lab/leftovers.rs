//! What a container runtime that was killed leaves outside the lab's own directory: mounts, sockets of its shims, and
//! cgroups of the old hierarchies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use super::{Runtime, State, cgroup};

/// Removes all of it; the lab's processes must have ended.
pub(super) fn remove(state: &State) -> io::Result<()> {
    remove_shim_sockets(state);
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
    if state.runtime == Runtime::Lab {
        return;
    }
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
    // Where all shims of a machine have their sockets: another's keep it.
    for directory in ["/run/containerd/s", "/run/containerd"] {
        fs::remove_dir(directory).ok();
    }
}
