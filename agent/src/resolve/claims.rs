//! Who gets an address and port that several Services ask for: the first by name.

use std::collections::HashMap;
use std::sync::Arc;

use fairway_proto::model::ObjectName;

use super::frontends::Part;
use super::{DesiredFrontend, FrontendKey, Problem};

/// All that is asked for.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<FrontendKey, Vec<Arc<DesiredFrontend>>>);

impl Claims {
    /// A Service asks for this. It must not ask for anything yet.
    pub(super) fn add(&mut self, service: &ObjectName, part: &Part) {
        for (key, frontend) in &part.claims {
            let all = self.0.entry(*key).or_default();
            // Behind what the same Service asked for before.
            let place = all.partition_point(|it| it.name.service <= *service);
            all.insert(place, frontend.clone());
        }
    }

    /// A Service does not ask for this any more.
    pub(super) fn remove(&mut self, service: &ObjectName, part: &Part) {
        for (key, _) in &part.claims {
            if let Some(all) = self.0.get_mut(key) {
                all.retain(|it| it.name.service != *service);
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

    /// What a Service asks for and does not get.
    pub(super) fn lost<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = Problem> + 'a {
        part.claims.iter().filter_map(|(key, frontend)| {
            // One address may stand in two fields of one Service.
            let winner = self.of(key).first().filter(|winner| winner.name != frontend.name)?;
            Some(Problem::Claimed {
                loser: frontend.name.clone(),
                winner: winner.name.clone(),
                address: key.address,
                port: key.port,
            })
        })
    }
}
