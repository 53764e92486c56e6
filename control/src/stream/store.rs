//! The newest state of every resource, encoded, and in which order they changed.
//!
//! A resource that is gone leaves its name, so that a subscriber who knows an older version learns of it. There is no
//! other history: what changed since a version is what stands behind it in the order. Of the last states the digests
//! are remembered too, so that who had one of them from another control plane is sent what changed since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use fairway_proto::control;
use fairway_proto::model::{Resource, ResourceKey};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::watch;

use super::digest::{Digests, part};

/// Names of removed resources that are remembered; a subscriber who knows none newer gets a snapshot.
const REMOVED: usize = 16 * 1024;
/// Ways to the newest state that are kept for the next subscriber.
const DELTAS: usize = 64;

/// Fields of SubscribeResponse.
const CHANGED_FIELD: u32 = 4;
const REMOVED_FIELD: u32 = 5;

/// What everybody may know of the store without a look inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Newest {
    /// The version's number.
    pub(crate) number: u64,
    /// All sources were read once.
    pub(crate) loaded: bool,
    /// There was a state from which nothing was missing (S104).
    pub(crate) complete: bool,
}

/// The newest state.
#[derive(Debug)]
pub(crate) struct Store {
    epoch: u64,
    state: Mutex<State>,
    newest: watch::Sender<Newest>,
}

#[derive(Debug, Default)]
struct State {
    resources: BTreeMap<ResourceKey, Resource>,
    /// With which number each of them, and of those that are gone, changed last.
    numbers: BTreeMap<ResourceKey, u64>,
    /// What changed last with a number.
    entries: BTreeMap<u64, Entry>,
    number: u64,
    removed: usize,
    /// Deltas can be made from this number on.
    floor: u64,
    /// The sum of what all resources add to it.
    digest: u64,
    digests: Digests,
    snapshot: Option<Arc<[Bytes]>>,
    /// What leads from a number to the newest one: many subscribers have the same.
    deltas: BTreeMap<u64, Arc<[Bytes]>>,
}

#[derive(Debug)]
struct Entry {
    key: ResourceKey,
    /// As it stands in a SubscribeResponse: field, length, message.
    encoded: Bytes,
    /// What it adds to the digest.
    part: u64,
    removed: bool,
}

/// What a subscriber has to be sent to have a version.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) version: control::Version,
    pub(crate) snapshot: bool,
    pub(crate) items: Arc<[Bytes]>,
}

fn encode(field: u32, message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(length + 8);
    encode_key(field, WireType::LengthDelimited, &mut buffer);
    encode_varint(length as u64, &mut buffer);
    message.encode_raw(&mut buffer);
    buffer.freeze()
}

impl State {
    fn put(&mut self, key: ResourceKey, encoded: Bytes, removed: bool) {
        self.number += 1;
        let part = if removed { 0 } else { part(&encoded) };
        self.removed += usize::from(removed);
        self.digest = self.digest.wrapping_add(part);
        let before = self.numbers.insert(key.clone(), self.number);
        if let Some(old) = before.and_then(|number| self.entries.remove(&number)) {
            self.removed -= usize::from(old.removed);
            self.digest = self.digest.wrapping_sub(old.part);
        }
        self.entries.insert(self.number, Entry { key, encoded, part, removed });
    }

    /// What changed after this number.
    fn delta(&mut self, number: u64) -> Arc<[Bytes]> {
        if let Some(items) = self.deltas.get(&number) {
            return Arc::clone(items);
        }
        let newer = self.entries.range(number + 1..);
        let items: Arc<[Bytes]> = newer.map(|(_, entry)| entry.encoded.clone()).collect();
        if self.deltas.len() < DELTAS {
            self.deltas.insert(number, Arc::clone(&items));
        }
        items
    }

    /// Forgets the oldest removed names when there are too many.
    fn forget(&mut self) {
        if self.removed <= REMOVED {
            return;
        }
        let surplus = self.removed - REMOVED / 2;
        let oldest = self.entries.iter().filter(|(_, entry)| entry.removed).map(|(number, _)| *number);
        for number in oldest.take(surplus).collect::<Vec<_>>() {
            if let Some(entry) = self.entries.remove(&number) {
                self.numbers.remove(&entry.key);
            }
            self.removed -= 1;
            self.floor = number;
        }
    }
}

impl Store {
    /// An empty store of a new epoch.
    pub(crate) fn new() -> Self {
        Self {
            epoch: rand::random_range(1..=u64::MAX),
            state: Mutex::default(),
            newest: watch::Sender::new(Newest::default()),
        }
    }

    /// Drawn at random.
    #[cfg(test)]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Follows the version's number.
    pub(crate) fn newest(&self) -> watch::Receiver<Newest> {
        self.newest.subscribe()
    }

    /// How many follow it.
    pub(crate) fn followers(&self) -> usize {
        self.newest.receiver_count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `resources` the newest state, all at once. Returns how many changed or went away.
    pub(crate) fn replace(&self, resources: BTreeMap<ResourceKey, Resource>, complete: bool) -> usize {
        let mut state = self.state();
        let gone = state.resources.keys().filter(|key| !resources.contains_key(key)).cloned();
        let changes: Vec<_> = gone.map(|key| (key, None)).collect();
        let present = resources.into_iter().map(|(key, resource)| (key, Some(resource)));
        self.change(&mut state, present.chain(changes), complete)
    }

    /// Makes these resources what they are here, none: gone, all at once. Returns how many changed or went away.
    pub(crate) fn apply(&self, changes: BTreeMap<ResourceKey, Option<Resource>>, complete: bool) -> usize {
        self.change(&mut self.state(), changes, complete)
    }

    fn change(
        &self,
        state: &mut State,
        changes: impl IntoIterator<Item = (ResourceKey, Option<Resource>)>,
        complete: bool,
    ) -> usize {
        let before = state.number;
        for (key, resource) in changes {
            match resource {
                Some(resource) if state.resources.get(&key) == Some(&resource) => {}
                Some(resource) => {
                    let encoded = encode(CHANGED_FIELD, &control::Resource::from(&resource));
                    state.put(key.clone(), encoded, false);
                    state.resources.insert(key, resource);
                }
                None if state.resources.remove(&key).is_some() => {
                    let encoded = encode(REMOVED_FIELD, &control::ResourceName::from(&key));
                    state.put(key, encoded, true);
                }
                None => {}
            }
        }
        let changes = (state.number - before) as usize;
        state.forget();
        if changes > 0 {
            state.snapshot = None;
            state.deltas.clear();
        }
        // Version 0 is before the first reading, also when nothing was found.
        state.number = state.number.max(1);
        let (number, digest) = (state.number, state.digest);
        if number > before {
            state.digests.note(number, digest);
        }
        self.newest.send_if_modified(|newest| {
            let complete = newest.complete || complete;
            std::mem::replace(newest, Newest { number, loaded: true, complete }) != *newest
        });
        changes
    }

    /// The number here of a version of this or of another control plane; `None`: that state was not here lately.
    pub(crate) fn number(&self, known: control::Version) -> Option<u64> {
        if known.epoch == self.epoch {
            return Some(known.number);
        }
        self.state().digests.number(known.digest)
    }

    /// What a subscriber needs who has the version of that number of this epoch; `None`: who has nothing.
    pub(crate) fn since(&self, known: Option<u64>) -> Batch {
        let mut state = self.state();
        let version = control::Version { epoch: self.epoch, number: state.number, digest: state.digest };
        match known.filter(|number| (state.floor..=state.number).contains(number)) {
            Some(number) => Batch { version, snapshot: false, items: state.delta(number) },
            None => {
                let snapshot = state.snapshot.take().unwrap_or_else(|| {
                    let present = state.entries.values().filter(|entry| !entry.removed);
                    present.map(|entry| entry.encoded.clone()).collect()
                });
                state.snapshot = Some(Arc::clone(&snapshot));
                Batch { version, snapshot: true, items: snapshot }
            }
        }
    }

    /// How many resources there are, and how many names of removed ones.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.state();
        assert_eq!(state.numbers.len(), state.entries.len());
        (state.resources.len(), state.removed)
    }
}
