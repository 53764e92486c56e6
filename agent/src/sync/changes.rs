//! What is different between two states of the cluster, as far as metrics count it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use fairway_proto::model::{Cluster, ObjectName};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

/// Services and slices that came, changed or went.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) services: BTreeSet<ObjectName>,
    pub(super) slices: BTreeSet<ObjectName>,
    /// When the changes happened that the slices were written for, as far as they say.
    pub(super) happened: Vec<SystemTime>,
}

impl Changes {
    /// From one state to the next. What happened before `since` is nobody's delay.
    pub(super) fn between(before: &Cluster, after: &Cluster, since: SystemTime) -> Self {
        let slices = different(&before.slices, &after.slices);
        let happened = |name: &ObjectName| {
            let now = after.slices.get(name)?.last_change?;
            let then = before.slices.get(name).and_then(|slice| slice.last_change);
            (then != Some(now) && now > since).then_some(now)
        };
        let happened = slices.iter().filter_map(happened).collect();
        Self { services: different(&before.services, &after.services), slices, happened }
    }

    /// Adds what came later.
    pub(super) fn add(&mut self, later: Self) {
        self.services.extend(later.services);
        self.slices.extend(later.slices);
        self.happened.extend(later.happened);
    }
}

fn different<T: Eq>(
    before: &OrdMap<ObjectName, Arc<T>>,
    after: &OrdMap<ObjectName, Arc<T>>,
) -> BTreeSet<ObjectName> {
    let name = |item| match item {
        DiffItem::Add(name, _) | DiffItem::Update { new: (name, _), .. } | DiffItem::Remove(name, _) => name,
    };
    before.diff(after).map(name).cloned().collect()
}
