//! The last state, kept on disk: a node serves it after a reboot without its control plane.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairway_proto::control::{self, SubscribeResponse, Version};
use fairway_proto::model::{Cluster, Resource};
use prost::Message;

use super::received::{Complete, Received};

/// Begins the file, then a checksum (CRC-32, little endian), then a `SubscribeResponse` with a snapshot.
const MAGIC: &[u8; 8] = b"fairway1";
const NAME: &str = "cluster.pb";

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

/// Reads the last state, if there is one.
pub(super) fn load(state_dir: &Path) -> Result<Option<(Version, Arc<Cluster>)>, Error> {
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
