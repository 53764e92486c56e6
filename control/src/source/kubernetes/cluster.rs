//! What the API server has said so far, of all kinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;

use super::objects::{Heard, Kind, Nodes, Parsed, Services, Slices};
use crate::source::declaration::{Declarations, Declared};
use crate::source::problem::{Cause, Problem};

/// What is heard of any kind.
pub(super) enum News {
    Service(Heard<Services>),
    Slice(Heard<Slices>),
    Node(Heard<Nodes>),
}

/// The cluster as far as it is known.
pub(super) struct Cluster {
    server: Arc<str>,
    services: Listing<Services>,
    slices: Listing<Slices>,
    nodes: Listing<Nodes>,
}

impl Cluster {
    /// Nothing is known of the cluster at that URL.
    pub(super) fn new(server: &Arc<str>) -> Self {
        Self {
            server: Arc::clone(server),
            services: Listing::default(),
            slices: Listing::default(),
            nodes: Listing::default(),
        }
    }

    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Service(heard) => self.services.hear(heard),
            News::Slice(heard) => self.slices.hear(heard),
            News::Node(heard) => self.nodes.hear(heard),
        }
    }

    /// Each kind was listed once: nothing is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.is_listed_since([0; 3])
    }

    /// How often each kind was listed.
    pub(super) fn lists(&self) -> [u64; 3] {
        [self.services.lists, self.slices.lists, self.nodes.lists]
    }

    /// Each kind was listed since.
    pub(super) fn is_listed_since(&self, before: [u64; 3]) -> bool {
        self.lists().into_iter().zip(before).all(|(now, before)| now > before)
    }

    pub(super) fn declarations(&self) -> Declarations {
        Declarations {
            services: self.services.known.clone(),
            slices: self.slices.known.clone(),
            nodes: self.nodes.known.clone(),
            problems: self.problems().collect(),
            complete: true,
            ..Declarations::default()
        }
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let failures = [
            self.services.failure(self, "Services"),
            self.slices.failure(self, "EndpointSlices"),
            self.nodes.failure(self, "Nodes"),
        ];
        let failures = failures.into_iter().flatten();
        failures.chain(self.services.problems()).chain(self.slices.problems()).chain(self.nodes.problems())
    }

    /// Something about a whole kind.
    pub(super) fn problem(&self, kind: &str, cause: Cause) -> Problem {
        Problem {
            file: Some(self.server.to_string()),
            at: None,
            object: Some(kind.to_owned()),
            field: None,
            cause,
        }
    }
}

/// The objects of a kind.
struct Listing<K: Kind> {
    known: Objects<K>,
    /// A list that is not complete yet.
    coming: Option<(Objects<K>, Problems<K>)>,
    /// How many lists were complete.
    lists: u64,
    problems: Problems<K>,
    failure: Option<String>,
}

type Objects<K> = OrdMap<<K as Kind>::Key, Arc<Declared<<K as Kind>::Value>>>;
type Problems<K> = BTreeMap<<K as Kind>::Key, Vec<Problem>>;

impl<K: Kind> Default for Listing<K> {
    fn default() -> Self {
        Self { known: OrdMap::new(), coming: None, lists: 0, problems: BTreeMap::new(), failure: None }
    }
}

impl<K: Kind> Listing<K> {
    fn hear(&mut self, heard: Heard<K>) {
        if !matches!(heard, Heard::Begin | Heard::Failed(_)) {
            self.failure = None;
        }
        match heard {
            Heard::Begin => self.coming = Some(Default::default()),
            Heard::Listed(parsed) => {
                if let Some((objects, problems)) = &mut self.coming {
                    // Of an object that cannot be used, what could be used stays.
                    let before = self.known.get(&parsed.key).cloned();
                    put(objects, problems, parsed, before);
                }
            }
            Heard::Complete => {
                let (objects, problems) = self.coming.take().unwrap_or_default();
                // The map that all is computed from stays the same one, so that nothing is computed anew.
                if self.known != objects {
                    self.known = objects;
                }
                self.problems = problems;
                self.lists += 1;
            }
            Heard::Changed(parsed) => {
                let same = parsed.value.is_some() && self.known.get(&parsed.key) == parsed.value.as_ref();
                if same {
                    self.problems.remove(&parsed.key);
                } else {
                    put(&mut self.known, &mut self.problems, parsed, None);
                }
            }
            Heard::Gone(key) => {
                // As above: a removal of nothing makes another map as well.
                if self.known.contains_key(&key) {
                    self.known.remove(&key);
                }
                self.problems.remove(&key);
            }
            Heard::Failed(error) => self.failure = Some(error),
            Heard::Well => {}
        }
    }

    fn failure(&self, cluster: &Cluster, kind: &str) -> Option<Problem> {
        let error = self.failure.clone()?;
        Some(cluster.problem(kind, Cause::ApiServer { error }))
    }

    fn problems(&self) -> impl Iterator<Item = Problem> {
        self.problems.values().flatten().cloned()
    }
}

fn put<K: Kind>(
    objects: &mut Objects<K>,
    problems: &mut Problems<K>,
    parsed: Parsed<K>,
    before: Option<Arc<Declared<K::Value>>>,
) {
    if let Some(value) = parsed.value.or(before) {
        objects.insert(parsed.key.clone(), value);
    }
    if parsed.problems.is_empty() {
        problems.remove(&parsed.key);
    } else {
        problems.insert(parsed.key, parsed.problems);
    }
}
