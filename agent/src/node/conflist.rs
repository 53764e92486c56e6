//! The network configuration by which a container runtime finds Fairway: written once a pod could be added, and left
//! in place when the agent stops. A runtime takes the node for ready as soon as it is there.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Shared;
use crate::config::Config;
use crate::pods::DELETIONS;

/// The plugin's name, and that of the program that the runtime starts.
const PLUGIN: &str = "fairway-cni";
/// When a file that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Writes the file when this node has pod ranges: programs and pods are in force by then.
pub(super) async fn write(shared: Arc<Shared>, stop: CancellationToken) {
    let Some(path) = &shared.config.cni_conf else { return };
    tokio::select! {
        () = shared.pods.have_ranges() => {}
        () = stop.cancelled() => return,
    }
    let content = content(&shared.config);
    loop {
        let failed = match put(path, &content) {
            Ok(true) => {
                info!("wrote `{}`: the container runtime may add pods", path.display());
                None
            }
            Ok(false) => None,
            Err(error) => Some(format!("cni-conf: `{}` could not be written: {error}", path.display())),
        };
        shared.repairs.set("cni-conf", failed.clone());
        let Some(failed) = failed else { return };
        warn!("{failed}");
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// A runtime that knows `cniVersions` takes the newest version; one that does not takes `cniVersion`.
fn content(config: &Config) -> String {
    let list = json!({
        "cniVersion": "1.0.0",
        "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "name": "fairway",
        "plugins": [{
            "type": PLUGIN,
            "socket": config.socket,
            "deletions": config.state_dir.join(DELETIONS),
            "capabilities": { "portMappings": true, "bandwidth": true },
        }],
    });
    format!("{list:#}\n")
}

/// Replaces the file, which holds the old or the new content at any time. False: it has this content already.
fn put(path: &Path, content: &str) -> io::Result<bool> {
    if std::fs::read(path).is_ok_and(|present| present == content.as_bytes()) {
        return Ok(false);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)?;
    // Runtimes read files that end in .conf, .conflist or .json.
    let mut file = tempfile::Builder::new().prefix(".fairway").suffix(".new").tempfile_in(directory)?;
    file.write_all(content.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(directory)?.sync_all()?;
    Ok(true)
}

/// Whether the file is a configuration that uses Fairway.
pub(super) fn is_ours(path: &Path) -> bool {
    let list: Value = std::fs::read(path)
        .ok()
        .and_then(|content| serde_json::from_slice(&content).ok())
        .unwrap_or_default();
    list["plugins"][0]["type"] == PLUGIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_appears_whole_for_everyone_to_read_and_is_not_written_twice() {
        // S125
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("net.d/10-fairway.conflist");
        assert!(put(&path, "one").unwrap());
        assert!(!put(&path, "one").unwrap());
        assert!(put(&path, "two").unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        let left: Vec<_> = std::fs::read_dir(directory.path().join("net.d")).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file stays");
    }

    #[test]
    fn only_a_list_that_begins_with_fairway_is_ours() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("10-net.conflist");
        assert!(!is_ours(&path));
        for (content, ours) in [
            (r#"{"plugins":[{"type":"fairway-cni"},{"type":"portmap"}]}"#, true),
            (r#"{"plugins":[{"type":"bridge"},{"type":"fairway-cni"}]}"#, false),
            (r#"{"type":"bridge"}"#, false),
            ("no json", false),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(is_ours(&path), ours, "{content}");
        }
    }
}
