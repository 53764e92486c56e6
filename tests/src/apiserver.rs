//! A Kubernetes API server for trials: lists and watches with the semantics that the API concepts page of Kubernetes
//! promises, over TLS, in this process; and what goes wrong with one, at the trial's command.
//!
//! Objects are JSON documents. Nothing is validated or defaulted that a client of this project does not write: what
//! trials put in is served as it is. Clients may do what the ClusterRole in deploy/ grants.

mod answer;
mod certs;
mod commands;
mod event;
mod faults;
mod handler;
mod kind;
mod list;
mod listen;
mod log;
mod patch;
mod role;
mod selector;
mod store;
#[cfg(test)]
mod tests;
mod watch;
mod write;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{broadcast, watch as cell};

use self::certs::Authority;
use self::faults::Faults;
use self::listen::Door;
use self::log::Log;
use self::role::Role;
use self::store::Store;

use crate::lab::Netns;

pub use self::event::Event;
pub use self::kind::Kind;
pub use self::log::{Request, Verb};
pub use self::store::Snapshot;

/// How clients show who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// A bearer token inside the kubeconfig.
    #[default]
    Token,
    /// A bearer token in a file, which is read again from time to time.
    TokenFile,
    /// A client certificate.
    Certificate,
}

/// How the server says that a watch asks for changes that are compacted away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gone {
    /// An ERROR event on a watch that has begun, as the watch cache does it.
    #[default]
    Event,
    /// HTTP status 410.
    Http,
}

/// How a server is started.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether watches may ask for the initial state (`sendInitialEvents`); older servers refuse that.
    pub streaming_lists: bool,
    /// How often watches get bookmarks; none: only by [`ApiServer::send_bookmarks`].
    pub bookmarks: Option<Duration>,
    /// What is said of compacted changes.
    pub gone: Gone,
    /// What [`ApiServer::kubeconfig`] gives to clients.
    pub credential: Credential,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            streaming_lists: true,
            bookmarks: None,
            gone: Gone::default(),
            credential: Credential::default(),
        }
    }
}

/// What all connections share.
struct Shared {
    options: Options,
    role: Role,
    store: Mutex<Store>,
    /// Written whenever the store has changed.
    changed: cell::Sender<()>,
    /// What all watches are told to do.
    orders: broadcast::Sender<Order>,
    faults: Faults,
    log: Log,
    /// Tokens that are let in; the last one is the newest.
    tokens: Mutex<Vec<String>>,
    /// How often the door was closed: what came in before says nothing any more.
    closings: AtomicU64,
}

/// What all watches do at once.
#[derive(Clone, Copy, Debug)]
enum Order {
    Bookmark,
    /// The connection is cut, in the middle of a line if asked for.
    Cut {
        inside: bool,
    },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running API server; dropped, it stops.
pub struct ApiServer {
    shared: Arc<Shared>,
    authority: Authority,
    door: Mutex<Door>,
    kubeconfig: Mutex<Option<PathBuf>>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Listens at a free port of 127.0.0.1, with no objects.
    ///
    /// # Errors
    /// No free port, no certificates.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        Self::listen(options, None, Ipv4Addr::LOCALHOST.into()).await
    }

    /// The same at an address of a network namespace.
    ///
    /// # Errors
    /// The namespace has no such address, not root.
    pub async fn start_in(options: Options, netns: Netns, address: IpAddr) -> anyhow::Result<Self> {
        Self::listen(options, Some(netns), address).await
    }

    async fn listen(options: Options, netns: Option<Netns>, address: IpAddr) -> anyhow::Result<Self> {
        let authority = Authority::new(address)?;
        let shared = Arc::new(Shared {
            options,
            role: Role::new()?,
            store: Mutex::default(),
            changed: cell::Sender::new(()),
            orders: broadcast::Sender::new(64),
            faults: Faults::default(),
            log: Log::default(),
            tokens: Mutex::new(vec![certs::token()]),
            closings: AtomicU64::new(0),
        });
        let mut door = Door::new(Arc::clone(&shared), &authority, netns, address)?;
        door.open()?;
        Ok(Self { shared, authority, door: Mutex::new(door), kubeconfig: Mutex::default() })
    }

    /// `https://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        lock(&self.door).address()
    }

    /// Writes a kubeconfig, and the token's file if there is to be one, into `directory`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn kubeconfig(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        let path = directory.join("kubeconfig");
        let token_file = directory.join("token");
        let token = lock(&self.shared.tokens).last().cloned().unwrap_or_default();
        let user = match self.shared.options.credential {
            Credential::Token => serde_json::json!({ "token": token }),
            Credential::TokenFile => {
                std::fs::write(&token_file, token)?;
                *lock(&self.kubeconfig) = Some(token_file.clone());
                serde_json::json!({ "tokenFile": token_file })
            }
            Credential::Certificate => self.authority.client()?,
        };
        let config = self.authority.kubeconfig(&self.url(), user)?;
        std::fs::write(&path, serde_saphyr::to_string(&config)?)?;
        Ok(path)
    }

    /// Draws a new token, writes it to the token's file, and refuses the ones before. Watches go on: a server asks for
    /// credentials once for each request.
    ///
    /// # Errors
    /// There is no such file yet, or it cannot be written.
    pub fn rotate_token(&self) -> anyhow::Result<()> {
        let path = lock(&self.kubeconfig).clone();
        let path = path.ok_or_else(|| anyhow::anyhow!("no kubeconfig with a token's file was written"))?;
        let token = certs::token();
        // As the kubelet does it: the name changes from one file to the other at once.
        let next = path.with_extension("next");
        std::fs::write(&next, &token)?;
        std::fs::rename(next, path)?;
        *lock(&self.shared.tokens) = vec![token];
        Ok(())
    }

    /// Adds or replaces the objects of a YAML or JSON text, one after the other.
    ///
    /// # Errors
    /// A text that is neither, an object of a kind that the server has not.
    pub fn apply(&self, documents: &str) -> anyhow::Result<()> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(documents)?;
        documents.into_iter().filter(|document| !document.is_null()).try_for_each(|one| self.put(one))
    }

    /// Adds or replaces an object, or those of a List.
    ///
    /// # Errors
    /// An object of a kind that the server has not.
    pub fn put(&self, object: Value) -> anyhow::Result<()> {
        if object["kind"] == "List" {
            let items = object["items"].as_array().cloned().unwrap_or_default();
            return items.into_iter().try_for_each(|item| self.put(item));
        }
        lock(&self.shared.store).put(object)?;
        self.shared.changed.send_replace(());
        Ok(())
    }

    /// Removes an object; whether it was there. `namespace` is empty for Nodes.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        let removed = lock(&self.shared.store).remove(&(kind, namespace.into(), name.into()));
        self.shared.changed.send_replace(());
        removed.is_some()
    }

    /// An object as it is served.
    pub fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        let key = (kind, namespace.to_owned(), name.to_owned());
        lock(&self.shared.store).state().get(&key).map(|object| Value::clone(object))
    }

    /// All objects of a kind, by namespace and name.
    pub fn objects(&self, kind: Kind) -> Vec<Value> {
        let state = lock(&self.shared.store).state().clone();
        store::of_kind(&state, kind).map(|(_, object)| Value::clone(object)).collect()
    }

    /// The newest resourceVersion.
    pub fn revision(&self) -> u64 {
        lock(&self.shared.store).revision()
    }

    /// The conditions of a Node, as they stand in its status.
    pub fn node_conditions(&self, name: &str) -> Vec<Value> {
        let node = self.object(Kind::Node, "", name).unwrap_or_default();
        node["status"]["conditions"].as_array().cloned().unwrap_or_default()
    }

    /// All Events that were written, the oldest first.
    pub fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self.objects(Kind::Event).iter().map(Event::of).collect();
        events.sort_by_key(|event| event.version);
        events
    }

    /// All requests so far, those that wait for an answer too.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.requests()
    }

    /// How many requests there were of this verb for this kind.
    pub fn count(&self, verb: Verb, kind: Kind) -> usize {
        self.shared.log.count(verb, kind)
    }

    /// How often this kind was listed, by lists (the first chunk of each) and by watches that began with all objects.
    pub fn full_lists(&self, kind: Kind) -> usize {
        self.shared.log.full_lists(kind)
    }

    /// How many watches of this kind are open.
    pub fn watches(&self, kind: Kind) -> usize {
        self.shared.log.open_watches(kind)
    }
}
