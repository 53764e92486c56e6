//! The objects, and the versions that they went through.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::kind::Kind;

/// Kind, namespace (empty for Nodes) and name.
pub(super) type Key = (Kind, String, String);
/// All objects of a moment; a clone shares them.
pub(super) type State = OrdMap<Key, Arc<Value>>;

/// Why an object is not taken.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no object of a kind that this server has, with a name (and a namespace, unless it is a Node)"
)]
pub(super) struct NotAnObject(String);

/// One change.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Value>>,
    /// None: it was removed.
    pub(super) after: Option<Arc<Value>>,
}

/// The server's state at a moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    revision: u64,
    state: State,
}

/// All objects with their history.
#[derive(Debug)]
pub(super) struct Store {
    revision: u64,
    /// Watches may start here or later.
    compacted: u64,
    state: State,
    /// By revision. Compaction leaves it: watches that are open already get what they have not had yet.
    history: BTreeMap<u64, Arc<Change>>,
    /// Of every revision that is not compacted.
    states: BTreeMap<u64, State>,
}

impl Default for Store {
    fn default() -> Self {
        // No version of a real server is as small as the number of its objects.
        let revision = 1_000;
        Self {
            revision,
            compacted: revision,
            state: State::default(),
            history: BTreeMap::default(),
            states: BTreeMap::from([(revision, State::default())]),
        }
    }
}

/// The objects of a kind, in order.
pub(super) fn of_kind(state: &State, kind: Kind) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
    let first = (kind, String::new(), String::new());
    state.range(first..).take_while(move |((of, ..), _)| *of == kind)
}

impl Store {
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The state of an earlier revision, unless it is compacted.
    pub(super) fn at(&self, revision: u64) -> Option<&State> {
        self.states.get(&revision)
    }

    /// What has changed after that revision.
    pub(super) fn since(&self, revision: u64) -> Vec<Arc<Change>> {
        self.history.range(revision + 1..).map(|(_, change)| Arc::clone(change)).collect()
    }

    /// Adds or replaces an object, and returns it as it is served. One that is as it was gets no new version.
    pub(super) fn put(&mut self, mut object: Value) -> Result<Arc<Value>, NotAnObject> {
        let key = key_of(&object).ok_or_else(|| NotAnObject(object.to_string()))?;
        let before = self.state.get(&key).cloned();
        fill_in(&mut object, before.as_deref());
        let metadata = object["metadata"].as_object_mut().ok_or_else(|| NotAnObject(key.2.clone()))?;
        if let Some(before) = &before {
            metadata.insert("resourceVersion".into(), before["metadata"]["resourceVersion"].clone());
        }
        if before.as_deref() == Some(&object) {
            return Ok(before.unwrap_or_default());
        }
        object["metadata"]["resourceVersion"] = json!((self.revision + 1).to_string());
        let after = Arc::new(object);
        self.state.insert(key.clone(), Arc::clone(&after));
        self.note(key, before, Some(Arc::clone(&after)));
        Ok(after)
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.state.remove(key)?;
        self.note(key.clone(), Some(Arc::clone(&before)), None);
        Some(before)
    }

    fn note(&mut self, key: Key, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        self.revision += 1;
        let revision = self.revision;
        self.history.insert(revision, Arc::new(Change { revision, key, before, after }));
        self.states.insert(revision, self.state.clone());
    }

    /// Forgets earlier states.
    pub(super) fn compact(&mut self) {
        self.compacted = self.revision;
        self.states = self.states.split_off(&self.compacted);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { revision: self.revision, state: self.state.clone() }
    }

    /// Goes back, to the snapshot's revision or on to another one.
    pub(super) fn restore(&mut self, snapshot: &Snapshot, revision: Option<u64>) {
        self.revision = revision.unwrap_or(snapshot.revision);
        self.compacted = self.revision;
        self.state = snapshot.state.clone();
        self.history.clear();
        self.states = BTreeMap::from([(self.revision, self.state.clone())]);
    }
}

/// Who an object is.
fn key_of(object: &Value) -> Option<Key> {
    let kind = Kind::of(object["kind"].as_str()?)?;
    let metadata = object.get("metadata")?;
    let name = metadata["name"].as_str().filter(|name| !name.is_empty())?;
    let namespace = match metadata["namespace"].as_str() {
        Some(namespace) if kind.namespaced() && !namespace.is_empty() => namespace,
        None if !kind.namespaced() => "",
        _ => return None,
    };
    Some((kind, namespace.to_owned(), name.to_owned()))
}

/// Adds what a server adds to every object, unless it is there.
fn fill_in(object: &mut Value, before: Option<&Value>) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    for (field, new) in [("uid", uid as fn() -> String), ("creationTimestamp", now)] {
        let kept = before.map(|before| before["metadata"][field].clone());
        if metadata.get(field).is_none_or(Value::is_null) {
            metadata.insert(field.into(), kept.unwrap_or_else(|| json!(new())));
        }
    }
}

fn uid() -> String {
    let bits: u128 = rand::random();
    let (a, b, c) = (bits >> 96, (bits >> 80) & 0xffff, (bits >> 64) & 0xfff);
    let (d, e) = (((bits >> 48) & 0x3fff) | 0x8000, bits & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
}

/// As Kubernetes writes times: UTC, whole seconds.
fn now() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}
