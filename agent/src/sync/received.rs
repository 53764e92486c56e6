//! What came over the stream, until it is complete and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairway_proto::control::{self, SubscribeResponse, Version, resource, resource_name::Kind};
use fairway_proto::model::{Cluster, InvalidResource, Resource, ResourceKey, Unknown, unknown};
use tracing::warn;

use super::Origin;

/// A state of the cluster that may be served; the default is an empty one that nobody sent.
#[derive(Clone, Default)]
pub(super) struct Accepted {
    pub(super) version: Version,
    pub(super) cluster: Arc<Cluster>,
    pub(super) origin: Origin,
}

/// A version that is there as a whole.
#[derive(Debug)]
pub(super) enum Complete {
    /// Everything in it is valid.
    Accepted {
        /// Its number.
        version: Version,
        /// The cluster as of this version.
        cluster: Arc<Cluster>,
    },
    /// Something in it is not valid: the version before stays in force.
    Rejected {
        /// Its number.
        version: Version,
        /// Which resource, why, and what happens.
        reason: String,
    },
}

/// Kind, namespace and name as they came, which may be none that a valid resource could have.
type RawKey = (Kind, String, String);

/// The cluster as received so far. It may be ahead of what is in force.
#[derive(Debug, Default)]
pub(super) struct Received {
    cluster: Cluster,
    invalid: BTreeMap<RawKey, InvalidResource>,
    /// What was left out because this version of the agent does not know it: told once.
    unknown: BTreeSet<Unknown>,
}

impl Received {
    /// What comes changes this state: what was received in part is forgotten.
    pub(super) fn restart(&mut self, cluster: &Cluster) {
        self.cluster = cluster.clone();
        self.invalid.clear();
    }

    /// Takes one response; returns the version if it is complete with it.
    pub(super) fn take(&mut self, response: SubscribeResponse) -> Option<Complete> {
        if response.snapshot {
            self.restart(&Cluster::default());
        }
        for name in &response.removed {
            self.invalid.remove(&(name.kind(), name.namespace.clone(), name.name.clone()));
            if let Ok(key) = ResourceKey::try_from(name) {
                self.cluster.remove(&key);
            }
        }
        for message in &response.changed {
            for unknown in unknown(message) {
                if self.unknown.insert(unknown) {
                    warn!("the control plane is newer than this agent: {unknown}");
                }
            }
            if message.body.is_none() {
                continue;
            }
            let key = raw_key(message);
            match Resource::try_from(message) {
                Ok(resource) => {
                    self.invalid.remove(&key);
                    self.cluster.insert(resource);
                }
                Err(error) => drop(self.invalid.insert(key, error)),
            }
        }
        let version = response.version.unwrap_or_default();
        response.complete.then(|| match self.reason() {
            None => Complete::Accepted { version, cluster: Arc::new(self.cluster.clone()) },
            Some(reason) => Complete::Rejected { version, reason },
        })
    }

    fn reason(&self) -> Option<String> {
        let first = self.invalid.values().next()?;
        let more = match self.invalid.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{first}{more}; correct it: until then the state before stays in force"))
    }
}

fn raw_key(message: &control::Resource) -> RawKey {
    match &message.body {
        Some(resource::Body::Service(it)) => (Kind::Service, it.namespace.clone(), it.name.clone()),
        Some(resource::Body::EndpointSlice(it)) => {
            (Kind::EndpointSlice, it.namespace.clone(), it.name.clone())
        }
        Some(resource::Body::Node(it)) => (Kind::Node, String::new(), it.name.clone()),
        None => (Kind::Unspecified, String::new(), String::new()),
    }
}
