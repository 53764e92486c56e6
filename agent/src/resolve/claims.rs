//! Who gets an address and port that several ask for: Services before pods, then the first by name.

use std::collections::HashMap;
use std::sync::Arc;

use fairway_proto::model::ObjectName;

use super::frontends::Part;
use super::{DesiredFrontend, FrontendKey, FrontendKind, Problem};

/// Who asks for addresses and ports, in the order in which they get them: what every node serves comes before what a pod
/// asks of one, for any user may make a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// A Service.
    Service(ObjectName),
    /// A pod of this node, by its hostPorts.
    Pod(ObjectName),
}

impl Owner {
    /// Who asks for a frontend.
    pub(super) fn of(frontend: &DesiredFrontend) -> Self {
        let name = frontend.name.service.clone();
        if frontend.kind == FrontendKind::HostPort { Self::Pod(name) } else { Self::Service(name) }
    }

    /// In the order of owners.
    fn rank(&self) -> (bool, &ObjectName) {
        match self {
            Self::Service(name) => (false, name),
            Self::Pod(name) => (true, name),
        }
    }
}

/// The [`Owner::rank`] of who asks for a frontend.
fn rank(frontend: &DesiredFrontend) -> (bool, &ObjectName) {
    (frontend.kind == FrontendKind::HostPort, &frontend.name.service)
}

/// All that is asked for.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<FrontendKey, Vec<Arc<DesiredFrontend>>>);

impl Claims {
    /// One asks for this. It must not ask for anything yet.
    pub(super) fn add(&mut self, owner: &Owner, part: &Part) {
        for (key, frontend) in &part.claims {
            let all = self.0.entry(*key).or_insert_with(|| Vec::with_capacity(1));
            // Behind what the same one asked for before.
            let place = all.partition_point(|it| rank(it) <= owner.rank());
            all.insert(place, frontend.clone());
        }
    }

    /// One does not ask for this any more.
    pub(super) fn remove(&mut self, owner: &Owner, part: &Part) {
        for (key, _) in &part.claims {
            if let Some(all) = self.0.get_mut(key) {
                all.retain(|it| rank(it) != owner.rank());
                if all.is_empty() {
                    self.0.remove(key);
                }
            }
        }
    }

    /// Everybody who asks for a key, the one who gets it first.
    pub(super) fn of(&self, key: &FrontendKey) -> &[Arc<DesiredFrontend>] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// What one asks for and does not get.
    pub(super) fn lost<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = Problem> + 'a {
        part.claims.iter().filter_map(|(key, frontend)| {
            // One address may stand in two fields of one Service, and in two ports of one pod.
            let winner = self.of(key).first().filter(|winner| winner.name != frontend.name)?.name.clone();
            let (address, port) = (key.address, key.port);
            Some(match Owner::of(frontend) {
                Owner::Service(_) => Problem::Claimed { loser: frontend.name.clone(), winner, address, port },
                Owner::Pod(pod) => Problem::HostPortTaken { pod, winner, address, port },
            })
        })
    }
}
