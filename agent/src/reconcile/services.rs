//! Ids of Service ports: never 0, never shared, the same for as long as the Service port lives.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use fairway_datapath::table::{Frontend, FrontendKey, Image};

use crate::resolve::{Desired, ServicePortName};

/// All ids.
#[derive(Debug)]
pub(super) struct Services {
    by_name: HashMap<ServicePortName, u32>,
    /// Ids in the image that no name was found for yet.
    next: u32,
    /// The image has not been matched with names yet.
    fresh: bool,
}

impl Services {
    pub(super) fn load(image: &Image) -> Self {
        let highest = image.frontends.values().map(|frontend| frontend.service).max().unwrap_or(0);
        Self { by_name: HashMap::new(), next: highest.wrapping_add(1), fresh: true }
    }

    pub(super) fn ids(&self) -> BTreeMap<ServicePortName, u32> {
        self.by_name.iter().map(|(name, id)| (name.clone(), *id)).collect()
    }

    /// The id of a name that [`Services::assign`] has seen.
    pub(super) fn id(&self, name: &ServicePortName) -> u32 {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    /// Gives every Service port an id.
    pub(super) fn assign(&mut self, desired: &Desired, frontends: &BTreeMap<FrontendKey, Frontend>) {
        if std::mem::take(&mut self.fresh) {
            self.adopt(desired, frontends);
        }
        let mut used: Option<HashSet<u32>> = None;
        for wanted in desired.frontends.values() {
            if !self.by_name.contains_key(&wanted.name) {
                let used = used.get_or_insert_with(|| {
                    frontends.values().map(|f| f.service).chain(self.by_name.values().copied()).collect()
                });
                while self.next == 0 || used.contains(&self.next) {
                    self.next = self.next.wrapping_add(1);
                }
                used.insert(self.next);
                self.by_name.insert(wanted.name.clone(), self.next);
                self.next = self.next.wrapping_add(1);
            }
        }
    }

    /// After a start the kernel's ids have no names: an id belongs to the Service port that most of its
    /// frontends are for.
    fn adopt(&mut self, desired: &Desired, frontends: &BTreeMap<FrontendKey, Frontend>) {
        let mut votes: BTreeMap<(u32, &ServicePortName), usize> = BTreeMap::new();
        for (key, wanted) in &desired.frontends {
            if let Some(frontend) = frontends.get(key).filter(|frontend| frontend.service != 0) {
                *votes.entry((frontend.service, &wanted.name)).or_default() += 1;
            }
        }
        let mut ranked: Vec<_> = votes.into_iter().collect();
        ranked.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
        let mut taken = HashSet::new();
        for ((id, name), _) in ranked {
            if !taken.contains(&id) && !self.by_name.contains_key(name) {
                taken.insert(id);
                self.by_name.insert(name.clone(), id);
            }
        }
    }

    /// Forgets Service ports that are not wanted and that no frontend in force names.
    pub(super) fn forget(&mut self, desired: &Desired, frontends: &BTreeMap<FrontendKey, Frontend>) {
        let wanted: BTreeSet<&ServicePortName> = desired.frontends.values().map(|f| &f.name).collect();
        if wanted.len() < self.by_name.len() {
            let used: HashSet<u32> = frontends.values().map(|frontend| frontend.service).collect();
            self.by_name.retain(|name, id| wanted.contains(name) || used.contains(id));
        }
    }
}
