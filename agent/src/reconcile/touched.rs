//! What a plan has to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fairway_datapath::table::{Frontend, FrontendKey};
use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet, ordset};

use super::{is_mark, mark_of};
use crate::resolve::{Desired, ServicePortName};

/// What may not be as it should be.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Keys of frontends.
    pub(super) frontends: BTreeSet<FrontendKey>,
    /// Addresses that are, or were, to be marked.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Service ports that these frontends belong or belonged to, and those whose ranges or endpoints are different.
    pub(super) ports: BTreeSet<ServicePortName>,
}

fn keys<'a, K, V: PartialEq>(before: &'a OrdMap<K, V>, after: &'a OrdMap<K, V>) -> impl Iterator<Item = &'a K>
where
    K: Ord,
{
    before.diff(after).map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Update { new: (key, _), .. } | DiffItem::Remove(key, _) => key,
    })
}

fn members<'a>(before: &'a OrdSet<IpAddr>, after: &'a OrdSet<IpAddr>) -> impl Iterator<Item = &'a IpAddr> {
    before.diff(after).map(|item| match item {
        ordset::DiffItem::Add(address) | ordset::DiffItem::Remove(address) => address,
    })
}

impl Touched {
    /// Everything that a table holds.
    pub(super) fn all(frontends: &BTreeMap<FrontendKey, Frontend>) -> Self {
        let in_place = |key: &FrontendKey| *key == mark_of(key.address);
        let (marks, others): (Vec<_>, Vec<_>) =
            frontends.iter().partition(|(key, value)| is_mark(value) && in_place(key));
        Self {
            frontends: others.into_iter().map(|(key, _)| *key).collect(),
            addresses: marks.into_iter().map(|(key, _)| key.address).collect(),
            ports: BTreeSet::new(),
        }
    }

    /// And what is different between two states.
    pub(super) fn and_different(mut self, before: &Desired, after: &Desired) -> Self {
        self.frontends.extend(keys(&before.frontends, &after.frontends));
        self.addresses.extend(members(&before.addresses, &after.addresses));
        self.ports.extend(keys(&before.serving, &after.serving).cloned());
        self.ports.extend(keys(&before.ranges, &after.ranges).cloned());
        for key in &self.frontends {
            for frontend in [before, after].into_iter().filter_map(|state| state.frontends.get(key)) {
                if !self.ports.contains(&frontend.name) {
                    self.ports.insert(frontend.name.clone());
                }
            }
        }
        self
    }
}
