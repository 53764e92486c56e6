//! What the agents told, on disk: a control plane that starts again knows the pods of nodes whose agents are lost.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fairway_proto::model::{Node, ObjectName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::agents::{Agents, PodReport};

/// Why the file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SavedError {
    #[error("`{path}` cannot be read or written")]
    Io { path: PathBuf, source: io::Error },
    #[error("`{path}` is not what this program wrote: remove it")]
    Json { path: PathBuf, source: serde_json::Error },
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    nodes: Vec<SavedNode>,
    /// By node.
    reports: BTreeMap<String, Vec<SavedPod>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedNode {
    name: String,
    addresses: Vec<IpAddr>,
    pod_cidrs: Vec<IpNet>,
    zone: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPod {
    namespace: String,
    name: String,
    addresses: Vec<IpAddr>,
    ready: bool,
    terminating: bool,
}

/// Reads the file; one that is missing says nothing.
///
/// # Errors
/// A file that cannot be read, or is not ours.
pub(crate) fn load(path: &Path) -> Result<Agents, SavedError> {
    let saved: Saved = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|source| SavedError::Json { path: path.to_owned(), source })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::default(),
        Err(source) => return Err(SavedError::Io { path: path.to_owned(), source }),
    };
    let mut agents = Agents::default();
    for SavedNode { name, addresses, pod_cidrs, zone } in saved.nodes {
        agents.hello(Node { name, addresses, pod_cidrs, zone, object: None });
    }
    for (node, pods) in saved.reports {
        let pods = pods.into_iter().map(|pod| {
            let report =
                PodReport { addresses: pod.addresses, ready: pod.ready, terminating: pod.terminating };
            (ObjectName::new(pod.namespace, pod.name), report)
        });
        agents.report(&node, pods.collect());
    }
    Ok(agents)
}

/// Replaces the file, mode 0600, all at once.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn save(path: &Path, agents: &Agents) -> Result<(), SavedError> {
    let saved = Saved {
        nodes: agents
            .nodes
            .values()
            .cloned()
            .map(|Node { name, addresses, pod_cidrs, zone, .. }| SavedNode {
                name,
                addresses,
                pod_cidrs,
                zone,
            })
            .collect(),
        reports: agents
            .reports
            .iter()
            .map(|(node, pods)| (node.clone(), pods.iter().map(saved_pod).collect()))
            .collect(),
    };
    let bytes =
        serde_json::to_vec(&saved).map_err(|source| SavedError::Json { path: path.to_owned(), source })?;
    write(path, &bytes).map_err(|source| SavedError::Io { path: path.to_owned(), source })
}

fn saved_pod((name, report): (&ObjectName, &PodReport)) -> SavedPod {
    SavedPod {
        namespace: name.namespace().to_owned(),
        name: name.name().to_owned(),
        addresses: report.addresses.clone(),
        ready: report.ready,
        terminating: report.terminating,
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let unfinished = path.with_extension("tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agents_told_survives_the_disk() {
        let at = tempfile::tempdir().unwrap();
        let path = at.path().join("state/agents.json");
        let mut agents = load(&path).unwrap();
        assert!(agents.nodes.is_empty());
        agents.hello(Node {
            name: "n1".into(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            pod_cidrs: vec!["10.0.1.0/24".parse().unwrap()],
            zone: None,
            object: None,
        });
        let report =
            PodReport { addresses: vec!["10.0.1.5".parse().unwrap()], ready: true, terminating: false };
        agents.report("n1", BTreeMap::from([(ObjectName::new("default", "web-1"), report)]));
        save(&path, &agents).unwrap();
        let read = load(&path).unwrap();
        assert_eq!((&read.nodes, &read.reports), (&agents.nodes, &agents.reports));
        fs::write(&path, "{").unwrap();
        assert!(load(&path).unwrap_err().to_string().ends_with("is not what this program wrote: remove it"));
    }
}
