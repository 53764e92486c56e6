//! Who is connected, and what they serve.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fairway_proto::control::Version;

/// An agent that is or was connected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subscriber {
    /// Its node.
    pub node: String,
    /// Its open streams: 0 when it is gone, more than 1 only while a dead connection is not noticed yet, or when
    /// two agents share a name.
    pub streams: usize,
    /// The newest version that was sent completely.
    pub sent: Option<Version>,
    /// The version that it serves.
    pub applied: Option<Version>,
    /// The version that it refused last, and its reason; none after it has applied another one.
    pub rejected: Option<(Version, String)>,
}

/// All agents that were ever connected, by node.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Mutex<BTreeMap<String, Subscriber>>);

impl Subscribers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Subscriber>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sorted by node.
    pub(crate) fn list(&self) -> Vec<Subscriber> {
        self.all().values().cloned().collect()
    }

    /// Changes what is known of a node.
    pub(crate) fn update(&self, node: &str, change: impl FnOnce(&mut Subscriber)) {
        let mut all = self.all();
        change(
            all.entry(node.to_owned())
                .or_insert_with(|| Subscriber { node: node.to_owned(), ..Default::default() }),
        );
    }
}
