//! The last state, kept on disk: a node serves it after a reboot without its control plane.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fairway_proto::control::{self, SubscribeResponse, Version};
use fairway_proto::model::{Cluster, ObjectName, Resource, ResourceKey};
use imbl::ordmap::DiffItem;
use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::chain;
use super::received::{Complete, Received};
use crate::memory;

/// Begins the file; then records follow, each a length, a checksum (CRC-32) of what comes, both little endian, and a
/// `SubscribeResponse`: the first is a snapshot, the others are what changed after it.
const MAGIC: &[u8; 8] = b"fairway2";
const NAME: &str = "cluster.pb";

/// The state is written at most this often.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// A state that could not be written is tried again then.
const RETRY: Duration = Duration::from_secs(5);
/// Changes of this many bytes at least are written behind the snapshot before there is a new one.
const CHANGES: u64 = 1 << 20;

/// The version of the agent, which decides what of a state is understood.
const SOFTWARE: &str = env!("CARGO_PKG_VERSION");

/// The state that is to be kept; none yet.
pub(super) type Latest = Option<(Version, Arc<Cluster>)>;

/// The state that was kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) version: Version,
    pub(super) cluster: Arc<Cluster>,
    /// Which version of the agent has kept it; none: one that did not say.
    software: String,
}

impl Kept {
    /// What the control plane is told of it. Another version of the agent may have left out what it did not know: then
    /// it is no state that has a name, and all is asked for again.
    pub(super) fn name(&self) -> Version {
        if self.software == SOFTWARE { self.version } else { Version::default() }
    }
}

/// What is added to the first record: a field that the message does not have, and whose readers pass over.
#[derive(Clone, PartialEq, Message)]
struct Writer {
    #[prost(string, tag = "1000")]
    software: String,
}

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
pub(super) fn last(state_dir: &Path) -> Option<Kept> {
    load(state_dir).unwrap_or_else(|error| {
        warn!("the last state on disk: {}; what the kernel holds stays in force", chain(&error));
        None
    })
}

/// Reads the last state, if there is one.
pub(super) fn load(state_dir: &Path) -> Result<Option<Kept>, Error> {
    let path = state_dir.join(NAME);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Unreadable { path, source }),
    };
    let unusable = |what: &str| Error::Unusable { path: path.clone(), what: what.to_owned() };
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| unusable("not a state file of this version"))?;
    let mut received = Received::default();
    let (first, writer) = record::<Writer>(&mut rest).map_err(|what| unusable(&what))?;
    let mut kept = match received.take(first) {
        Some(Complete::Accepted { version, cluster }) => Kept { version, cluster, software: writer.software },
        Some(Complete::Rejected { reason, .. }) => return Err(unusable(&reason)),
        None => return Err(unusable("not complete")),
    };
    while !rest.is_empty() {
        // A crash of the machine may have left the last one in part: what stands before it is a whole state.
        let Ok((changes, ())) = record(&mut rest) else { break };
        let Some(Complete::Accepted { version, cluster }) = received.take(changes) else { break };
        kept = Kept { version, cluster, ..kept };
    }
    Ok(Some(kept))
}

/// Takes the first record off `bytes`, and what was added to it, or says what is wrong with it.
fn record<Added: Message + Default>(bytes: &mut &[u8]) -> Result<(SubscribeResponse, Added), String> {
    let cut = || "cut short".to_owned();
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    let (checksum, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| cut())?;
    let (body, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return Err("damaged: its checksum does not match".to_owned());
    }
    *bytes = rest;
    let decoded = SubscribeResponse::decode(body).and_then(|response| Ok((response, Added::decode(body)?)));
    decoded.map_err(|error| error.to_string())
}

/// The file, as it was written.
struct Written {
    file: File,
    cluster: Arc<Cluster>,
    /// Bytes of changes that may be appended.
    room: u64,
}

/// Keeps the state on disk: whole once, then what changed.
pub(super) struct Saver {
    state_dir: PathBuf,
    /// Which version of the agent this is.
    software: &'static str,
    /// None at first, and after an error: the next state is written whole.
    written: Option<Written>,
}

impl Saver {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self::of(SOFTWARE, state_dir)
    }

    /// As an agent of that version does it.
    pub(super) fn of(software: &'static str, state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), software, written: None }
    }

    /// Keeps a state, so that a crash at any moment leaves the old or the new one.
    pub(super) fn save(&mut self, version: Version, cluster: &Arc<Cluster>) -> io::Result<()> {
        let written = match self.written.take().filter(|written| written.room > 0) {
            Some(written) => append(written, version, cluster)?,
            None => replace(&self.state_dir, self.software, version, cluster)?,
        };
        self.written = Some(written);
        Ok(())
    }
}

/// Writes what is different behind what is there.
fn append(mut written: Written, version: Version, cluster: &Arc<Cluster>) -> io::Result<Written> {
    let bytes = framed(&between(&written.cluster, cluster, version), &());
    written.file.write_all(&bytes)?;
    written.file.sync_data()?;
    Ok(Written { room: written.room.saturating_sub(bytes.len() as u64), cluster: cluster.clone(), ..written })
}

/// Puts a new file in place of the old one.
fn replace(
    state_dir: &Path,
    software: &str,
    version: Version,
    cluster: &Arc<Cluster>,
) -> io::Result<Written> {
    let snapshot = SubscribeResponse { snapshot: true, ..between(&Cluster::default(), cluster, version) };
    let bytes = framed(&snapshot, &Writer { software: software.to_owned() });
    let mut file = tempfile::NamedTempFile::new_in(state_dir)?;
    file.write_all(MAGIC)?;
    file.write_all(&bytes)?;
    file.as_file().sync_all()?;
    let file = file.persist(state_dir.join(NAME)).map_err(|error| error.error)?;
    File::open(state_dir)?.sync_all()?;
    Ok(Written { file, cluster: cluster.clone(), room: CHANGES.max(bytes.len() as u64) })
}

fn framed(response: &SubscribeResponse, added: &impl Message) -> Vec<u8> {
    let mut body = response.encode_to_vec();
    body.extend(added.encode_to_vec());
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes(), &crc32fast::hash(&body).to_le_bytes(), &body[..]].concat()
}

/// What leads from one state to another.
fn between(before: &Cluster, after: &Cluster, version: Version) -> SubscribeResponse {
    let mut response = SubscribeResponse { version: Some(version), complete: true, ..Default::default() };
    let services = before.services.diff(&after.services);
    note(
        &mut response,
        services,
        |it| Resource::Service(it.clone()),
        |name| ResourceKey::Service(name.clone()),
    );
    let slices = before.slices.diff(&after.slices);
    let removed = |name: &ObjectName| ResourceKey::EndpointSlice(name.clone());
    note(&mut response, slices, |it| Resource::EndpointSlice(it.clone()), removed);
    let nodes = before.nodes.diff(&after.nodes);
    note(&mut response, nodes, |it| Resource::Node(it.clone()), |name| ResourceKey::Node(name.clone()));
    response
}

fn note<'a, K: 'a, T: 'a>(
    response: &mut SubscribeResponse,
    items: impl Iterator<Item = DiffItem<'a, 'a, K, Arc<T>>>,
    changed: fn(&T) -> Resource,
    removed: fn(&K) -> ResourceKey,
) {
    for item in items {
        match item {
            DiffItem::Add(_, new) | DiffItem::Update { new: (_, new), .. } => {
                response.changed.push(control::Resource::from(&changed(new)));
            }
            DiffItem::Remove(name, _) => response.removed.push(control::ResourceName::from(&removed(name))),
        }
    }
}

/// Keeps the latest state until there will be none any more. What cannot be kept is tried again, also if nothing changes: a
/// disk that was full for a while must not leave an old state for the next reboot.
pub(super) async fn save_all(
    state_dir: PathBuf,
    mut to_save: watch::Receiver<Latest>,
    stop: CancellationToken,
) {
    let mut saver = Saver::new(&state_dir);
    // Why the last attempt failed, which is told once.
    let mut failed = None;
    loop {
        let changed = match failed {
            None => to_save.changed().await,
            Some(_) => tokio::time::timeout(RETRY, to_save.changed()).await.unwrap_or(Ok(())),
        };
        if changed.is_err() {
            return;
        }
        let Some((version, cluster)) = to_save.borrow_and_update().clone() else {
            continue;
        };
        let saving = tokio::task::spawn_blocking(move || {
            let whole = saver.written.is_none();
            let saved = saver.save(version, &cluster);
            if whole {
                memory::trim();
            }
            (saver, saved)
        });
        let Ok((back, saved)) = saving.await else { return };
        saver = back;
        let directory = state_dir.display();
        match saved {
            Err(error) => {
                if failed.replace(error.kind()) != Some(error.kind()) {
                    warn!(
                        "the last state cannot be kept in `{directory}`, an older one stays there: {error}"
                    );
                }
            }
            Ok(()) => {
                if failed.take().is_some() {
                    info!("the last state is kept in `{directory}` again");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(SAVE_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}
