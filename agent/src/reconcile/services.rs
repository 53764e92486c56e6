//! Ids of Service ports: never 0, never shared, the same for as long as the Service port lives.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use fairway_datapath::table::{Frontend, FrontendKey, Image};
use imbl::OrdMap;

use super::backends::Backends;
use super::touched::Touched;
use super::{MARK, is_mark};
use crate::resolve::{Desired, ServicePortName};

/// All ids.
#[derive(Debug)]
pub(super) struct Services {
    by_name: OrdMap<ServicePortName, u32>,
    by_id: HashMap<u32, ServicePortName>,
    /// Those that there are no more, but that a frontend in force still names.
    leaving: BTreeSet<ServicePortName>,
    /// The id to give out next; below [`MARK`].
    next: u32,
    /// All ids were given out once: one that is still named anywhere is passed over.
    wrapped: bool,
    /// The image has not been matched with names yet.
    fresh: bool,
}

impl Services {
    /// Ids go on above every id that anything in the image names: what was given to one Service port is not given to
    /// another while a connection may remember it.
    pub(super) fn load(image: &Image) -> Self {
        let frontends = image.frontends.values().filter(|frontend| !is_mark(frontend)).map(|it| it.service);
        let backends = image.backends.values().map(|backend| backend.service);
        let ranges = image.ranges.iter().map(|range| range.service);
        let highest = frontends.chain(backends).chain(ranges).max().unwrap_or(0);
        let next = if highest < MARK - 1 { highest + 1 } else { 1 };
        Self {
            by_name: OrdMap::new(),
            by_id: HashMap::new(),
            leaving: BTreeSet::new(),
            next,
            wrapped: next == 1,
            fresh: true,
        }
    }

    pub(super) fn ids(&self) -> OrdMap<ServicePortName, u32> {
        self.by_name.clone()
    }

    /// The id of a name that [`Services::assign`] has seen.
    pub(super) fn id(&self, name: &ServicePortName) -> u32 {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    /// The name of an id.
    pub(super) fn name(&self, id: u32) -> Option<&ServicePortName> {
        self.by_id.get(&id)
    }

    /// Gives every Service port that has a frontend an id.
    pub(super) fn assign(
        &mut self,
        desired: &Desired,
        touched: &Touched,
        frontends: &BTreeMap<FrontendKey, Frontend>,
        backends: &Backends,
    ) {
        if std::mem::take(&mut self.fresh) {
            self.adopt_by_frontends(desired, frontends);
            self.adopt_by_backends(desired, backends);
        }
        let mut named: Option<HashSet<u32>> = None;
        for wanted in touched.frontends.iter().filter_map(|key| desired.frontends.get(key)) {
            if self.by_name.contains_key(&wanted.name) {
                continue;
            }
            while self.wrapped
                && named
                    .get_or_insert_with(|| {
                        let backends = backends.known().map(|((service, ..), _)| service);
                        frontends.values().map(|f| f.service).chain(backends).collect()
                    })
                    .contains(&self.next)
            {
                self.step();
            }
            self.give(&wanted.name, self.next);
            self.step();
        }
    }

    fn step(&mut self) {
        self.next += 1;
        if self.next >= MARK {
            self.next = 1;
            self.wrapped = true;
        }
    }

    fn give(&mut self, name: &ServicePortName, id: u32) {
        self.by_name.insert(name.clone(), id);
        self.by_id.insert(id, name.clone());
    }

    /// After a start the kernel's ids have no names: an id belongs to the Service port that most of its
    /// frontends are for.
    fn adopt_by_frontends(&mut self, desired: &Desired, frontends: &BTreeMap<FrontendKey, Frontend>) {
        let mut votes: BTreeMap<(u32, &ServicePortName), usize> = BTreeMap::new();
        for (key, wanted) in &desired.frontends {
            if let Some(frontend) = frontends.get(key).filter(|frontend| frontend.service != 0) {
                *votes.entry((frontend.service, &wanted.name)).or_default() += 1;
            }
        }
        self.adopt(votes);
    }

    /// An id none of whose frontends is wanted any more belongs to the Service port that most of its backends serve:
    /// an earlier agent may have ended in the middle of a change of addresses.
    fn adopt_by_backends(&mut self, desired: &Desired, backends: &Backends) {
        let known =
            backends.known().filter(|((id, ..), gone)| !gone && *id != 0 && !self.by_id.contains_key(id));
        let mut orphans: HashMap<(IpAddr, u16), Vec<u32>> = HashMap::new();
        for ((id, address, port), _) in known {
            orphans.entry((address, port)).or_default().push(id);
        }
        if orphans.is_empty() {
            return;
        }
        let mut votes: BTreeMap<(u32, &ServicePortName), usize> = BTreeMap::new();
        for (name, serving) in desired.serving.iter().filter(|(name, _)| !self.by_name.contains_key(*name)) {
            for backend in serving.iter() {
                for id in orphans.get(&(backend.address, backend.port)).into_iter().flatten() {
                    *votes.entry((*id, name)).or_default() += 1;
                }
            }
        }
        self.adopt(votes);
    }

    fn adopt(&mut self, votes: BTreeMap<(u32, &ServicePortName), usize>) {
        let mut ranked: Vec<_> = votes.into_iter().collect();
        ranked.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
        for ((id, name), _) in ranked {
            if !self.by_id.contains_key(&id) && !self.by_name.contains_key(name) {
                self.give(name, id);
            }
        }
    }

    /// Forgets those of the Service ports that there are no more and that no frontend in force names.
    pub(super) fn forget(
        &mut self,
        desired: &Desired,
        touched: &BTreeSet<ServicePortName>,
        frontends: &BTreeMap<FrontendKey, Frontend>,
    ) {
        let gone = |name: &&ServicePortName| !desired.serving.contains_key(*name);
        self.leaving
            .extend(touched.iter().filter(gone).filter(|name| self.by_name.contains_key(*name)).cloned());
        if self.leaving.is_empty() {
            return;
        }
        let used: HashSet<u32> = frontends.values().map(|frontend| frontend.service).collect();
        for name in std::mem::take(&mut self.leaving).into_iter().filter(|name| gone(&name)) {
            match self.by_name.get(&name) {
                Some(id) if used.contains(id) => drop(self.leaving.insert(name)),
                Some(id) => {
                    self.by_id.remove(id);
                    self.by_name.remove(&name);
                }
                None => {}
            }
        }
    }
}
