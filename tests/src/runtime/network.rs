//! Network plugins, as runtimes find them.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::lab::{State, binaries};

/// Where Debian puts CNI plugins.
const DEBIAN: &str = "/usr/lib/cni";

/// Fairway's plugin in the network configuration of a node.
pub(super) fn own(state: &State, node: &str) -> Value {
    json!({ "type": "fairway-cni", "socket": state.agent_socket(node), "deletions": state.deletions(node) })
}

/// Fills a directory with links to Debian's plugins and to Fairway's.
pub(super) fn link_plugins(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let debian = fs::read_dir(DEBIAN)?.filter_map(|entry| Some(entry.ok()?.path()));
    for plugin in debian.chain([binaries()?.join("fairway-cni")]) {
        match symlink(&plugin, directory.join(plugin.file_name().unwrap_or_default())) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
