//! The last state, kept on disk: a node serves it after a reboot without its control plane.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fairway_proto::control::{self, SubscribeResponse, Version};
use fairway_proto::model::{Cluster, Resource};
use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::chain;
use super::received::{Complete, Received};

/// Begins the file, then a checksum (CRC-32, little endian), then a `SubscribeResponse` with a snapshot.
const MAGIC: &[u8; 8] = b"fairway1";
const NAME: &str = "cluster.pb";
/// The version that was last begun to be written to the kernel.
const BEGUN: &str = "begun.pb";

/// The state is written at most this often.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// The state that is to be kept; none yet.
pub(super) type Latest = Option<(Version, Arc<Cluster>)>;

/// Why the file is ignored.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("`{path}` cannot be read")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` is ignored, it is {what}; the next state from the control plane replaces it")]
    Unusable { path: PathBuf, what: String },
}

/// The last state, if there is one that can be used; what is wrong with it is logged.
pub(super) fn last(state_dir: &Path) -> Latest {
    load(state_dir).unwrap_or_else(|error| {
        warn!("the last state on disk: {}; what the kernel holds stays in force", chain(&error));
        None
    })
}

/// Reads the last state, if there is one.
pub(super) fn load(state_dir: &Path) -> Result<Latest, Error> {
    let path = state_dir.join(NAME);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Unreadable { path, source }),
    };
    let unusable = |what: &str| Error::Unusable { path: path.clone(), what: what.to_owned() };
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| unusable("not a state file of this version"))?;
    let (checksum, body) = rest.split_first_chunk::<4>().ok_or_else(|| unusable("cut short"))?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return Err(unusable("damaged: its checksum does not match"));
    }
    let snapshot = SubscribeResponse::decode(body).map_err(|error| unusable(&error.to_string()))?;
    match Received::default().take(snapshot) {
        Some(Complete::Accepted { version, cluster }) => Ok(Some((version, cluster))),
        Some(Complete::Rejected { reason, .. }) => Err(unusable(&reason)),
        None => Err(unusable("not complete")),
    }
}

/// Says which version is about to be written to the kernel: a crash of the agent, unlike one of the machine, leaves the
/// kernel with it, and the file with the state on disk may be older.
pub(super) fn begin(state_dir: &Path, version: Version) -> io::Result<()> {
    std::fs::write(state_dir.join(BEGUN), version.encode_to_vec())
}

/// Whether the kernel may hold a later state than this one.
pub(super) fn is_behind(state_dir: &Path, version: Version) -> bool {
    std::fs::read(state_dir.join(BEGUN)).is_ok_and(|bytes| Version::decode(&*bytes) != Ok(version))
}

/// Replaces the last state, so that a crash at any moment leaves the old or the new one.
pub(super) fn save(state_dir: &Path, version: Version, cluster: &Cluster) -> io::Result<()> {
    let services = cluster.services.values().cloned().map(Resource::Service);
    let slices = cluster.slices.values().cloned().map(Resource::EndpointSlice);
    let nodes = cluster.nodes.values().cloned().map(Resource::Node);
    let changed = services.chain(slices).chain(nodes);
    let body = SubscribeResponse {
        version: Some(version),
        snapshot: true,
        complete: true,
        changed: changed.map(|resource| control::Resource::from(&resource)).collect(),
        removed: vec![],
    }
    .encode_to_vec();
    let mut file = tempfile::NamedTempFile::new_in(state_dir)?;
    file.write_all(MAGIC)?;
    file.write_all(&crc32fast::hash(&body).to_le_bytes())?;
    file.write_all(&body)?;
    file.as_file().sync_all()?;
    file.persist(state_dir.join(NAME)).map_err(|error| error.error)?;
    std::fs::File::open(state_dir)?.sync_all()
}

/// Keeps the latest state until there will be none any more.
pub(super) async fn save_all(
    state_dir: PathBuf,
    mut to_save: watch::Receiver<Latest>,
    stop: CancellationToken,
) {
    while to_save.changed().await.is_ok() {
        let Some((version, cluster)) = to_save.borrow_and_update().clone() else {
            continue;
        };
        let dir = state_dir.clone();
        let saved = tokio::task::spawn_blocking(move || save(&dir, version, &cluster)).await;
        if let Ok(Err(error)) = saved {
            warn!("the last state cannot be kept in `{}`: {error}", state_dir.display());
        }
        tokio::select! {
            () = tokio::time::sleep(SAVE_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}
