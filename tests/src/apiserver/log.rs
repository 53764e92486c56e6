//! Which requests came.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use super::kind::Kind;
use super::lock;

/// What a request asks for, in the words of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// One object.
    Get,
    /// Objects, or a chunk of them.
    List,
    /// Changes of objects.
    Watch,
    /// A new object.
    Create,
    /// An object as a whole.
    Update,
    /// A part of an object.
    Patch,
    /// An object's end.
    Delete,
}

impl Verb {
    /// As in a ClusterRole.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// Whether it changes something.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it asks for.
    pub verb: Verb,
    /// The path, without the query.
    pub path: String,
    /// The kind that the path names; none for `/version` and the like.
    pub kind: Option<Kind>,
    /// The query.
    pub query: BTreeMap<String, String>,
    /// When it came.
    pub at: Instant,
    /// The HTTP status of the answer; none: not answered yet.
    pub status: Option<u16>,
}

impl Request {
    /// Whether it asks for all objects of a kind from the start.
    pub fn is_full_list(&self) -> bool {
        let is = |key: &str| self.query.get(key).is_some_and(|value| !value.is_empty());
        match self.verb {
            Verb::List => !is("continue"),
            Verb::Watch => {
                let version = self.query.get("resourceVersion").map(String::as_str).unwrap_or_default();
                self.query.get("sendInitialEvents").is_some_and(|value| value == "true")
                    || matches!(version, "" | "0")
            }
            _ => false,
        }
    }
}

/// The log of one server.
#[derive(Debug, Default)]
pub(super) struct Log {
    requests: Mutex<Vec<Request>>,
    watches: Mutex<BTreeMap<Kind, usize>>,
}

impl Log {
    /// Notes a request; the number is for [`Log::answered`].
    pub(super) fn came(&self, request: Request) -> usize {
        let mut requests = lock(&self.requests);
        requests.push(request);
        requests.len() - 1
    }

    pub(super) fn answered(&self, number: usize, status: u16) {
        if let Some(request) = lock(&self.requests).get_mut(number) {
            request.status = Some(status);
        }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    pub(super) fn count(&self, verb: Verb, kind: Kind) -> usize {
        let requests = lock(&self.requests);
        requests.iter().filter(|request| request.verb == verb && request.kind == Some(kind)).count()
    }

    pub(super) fn full_lists(&self, kind: Kind) -> usize {
        let requests = lock(&self.requests);
        requests.iter().filter(|request| request.kind == Some(kind) && request.is_full_list()).count()
    }

    pub(super) fn watch_begins(&self, kind: Kind) {
        *lock(&self.watches).entry(kind).or_default() += 1;
    }

    pub(super) fn watch_ends(&self, kind: Kind) {
        let mut watches = lock(&self.watches);
        let open = watches.entry(kind).or_default();
        *open = open.saturating_sub(1);
    }

    pub(super) fn open_watches(&self, kind: Kind) -> usize {
        lock(&self.watches).get(&kind).copied().unwrap_or_default()
    }
}
