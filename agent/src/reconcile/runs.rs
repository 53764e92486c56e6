//! Runs of slots: who shares them, and which places are free.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairway_datapath::table::{Image, Run};

use super::Limits;
use super::extents::Extents;
use super::shortage::{Lack, Table};

/// A run that frontends name.
#[derive(Debug)]
struct Live {
    count: u32,
    refs: u32,
    service: u32,
    backends: Arc<[u32]>,
}

/// All slots.
#[derive(Debug)]
pub(super) struct Runs {
    grace: Duration,
    live: BTreeMap<u32, Live>,
    /// Where a Service port's run with these backends begins: equal sets share one run.
    by_content: HashMap<(u32, Arc<[u32]>), u32>,
    free: Extents,
    /// Slots of the live ones.
    used: u64,
    /// Freed by the plan that is being carried out.
    leaving: Vec<Run>,
    resting: VecDeque<(Instant, Run)>,
}

impl Runs {
    /// Reads the runs of an image. Ones that overlap or miss an entry are kept away from, but never shared.
    pub(super) fn load(image: &Image, limits: Limits, released: Option<Instant>) -> Self {
        let mut runs = Self {
            grace: limits.grace,
            live: BTreeMap::new(),
            by_content: HashMap::new(),
            free: Extents::default(),
            used: 0,
            leaving: Vec::new(),
            resting: VecDeque::new(),
        };
        for (run, refs, service, sound) in Self::groups(image) {
            let slots = image.slots.range(run.first..run.first.saturating_add(run.count));
            let backends: Arc<[u32]> =
                slots.map(|(_, id)| *id).filter(|id| image.backends.contains_key(id)).collect();
            if sound && backends.len() == run.count as usize {
                runs.by_content.insert((service, backends.clone()), run.first);
            }
            runs.used += u64::from(run.count);
            runs.live.insert(run.first, Live { count: run.count, refs, service, backends });
        }
        runs.free_between(limits.slots, released);
        runs
    }

    /// Runs of an image in order: (extent, references, Service port, is one run of one Service port).
    fn groups(image: &Image) -> Vec<(Run, u32, u32, bool)> {
        let mut named: Vec<(Run, u32)> = image
            .frontends
            .values()
            .flat_map(|frontend| [(frontend.inside, frontend.service), (frontend.outside, frontend.service)])
            .filter(|(run, _)| run.count > 0)
            .collect();
        named.sort_by_key(|(run, service)| (run.first, run.count, *service));
        let mut groups: Vec<(Run, u32, u32, bool)> = Vec::new();
        for (run, service) in named {
            match groups.last_mut() {
                Some((last, refs, owner, sound)) if run.first < last.first.saturating_add(last.count) => {
                    *sound &= *last == run && *owner == service;
                    let end = |run: &Run| run.first.saturating_add(run.count);
                    last.count = end(last).max(end(&run)) - last.first;
                    *refs += 1;
                }
                _ => groups.push((run, 1, service, true)),
            }
        }
        groups
    }

    fn free_between(&mut self, slots: u32, released: Option<Instant>) {
        let mut next = 0;
        let ends = self.live.iter().map(|(first, live)| (*first, first.saturating_add(live.count)));
        for (first, end) in ends.chain([(slots, slots)]).collect::<Vec<_>>() {
            if first > next {
                let run = Run { first: next, count: first.min(slots).saturating_sub(next) };
                match released {
                    None => self.free.give(run),
                    Some(released) => self.resting.push_back((released, run)),
                }
            }
            next = next.max(end);
        }
    }

    /// The backends that the runs name, as often as they do.
    pub(super) fn named_backends(&self) -> Vec<u32> {
        self.live.values().flat_map(|live| live.backends.iter().copied()).collect()
    }

    /// Slots that frontends name.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// The runs that frontends name, and what stands in them.
    pub(super) fn written(&self) -> impl Iterator<Item = (u32, &[u32])> {
        let whole = self.live.iter().filter(|(_, live)| live.backends.len() == live.count as usize);
        whole.map(|(first, live)| (*first, &*live.backends))
    }

    /// Frees what has rested long enough.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some((released, run)) = self.resting.front().copied() {
            if now.saturating_duration_since(released) < self.grace {
                return;
            }
            self.resting.pop_front();
            self.free.give(run);
        }
    }

    /// What the last plan freed begins to rest.
    pub(super) fn settle(&mut self, now: Instant) {
        self.resting.extend(self.leaving.drain(..).map(|run| (now, run)));
    }

    /// The Service port's run with these backends.
    pub(super) fn find(&self, service: u32, backends: &[u32]) -> Option<Run> {
        if backends.is_empty() {
            return Some(Run::default());
        }
        let first = *self.by_content.get(&(service, Arc::from(backends)))?;
        Some(Run { first, count: self.live.get(&first)?.count })
    }

    /// Takes places for a new run.
    pub(super) fn reserve(&mut self, count: usize) -> Result<Run, Lack> {
        let short = u32::try_from(count).ok().filter(|count| *count <= fairway_common::limits::RUN);
        short.and_then(|count| self.free.take(count)).ok_or_else(|| {
            let needed = count as u64;
            let resting = self.resting.iter().map(|(_, run)| run).chain(&self.leaving);
            let resting: u64 = resting.map(|run| u64::from(run.count)).sum();
            let free = self.free.total();
            Lack { table: Table::Slots, needed, free, resting: resting > 0 && free + resting >= needed }
        })
    }

    /// Gives back what was reserved and never named.
    pub(super) fn give_back(&mut self, run: Run) {
        self.free.give(run);
    }

    /// A reserved run gets its content.
    pub(super) fn register(&mut self, service: u32, run: Run, backends: Vec<u32>) {
        let backends: Arc<[u32]> = backends.into();
        self.by_content.insert((service, backends.clone()), run.first);
        self.used += u64::from(run.count);
        self.live.insert(run.first, Live { count: run.count, refs: 0, service, backends });
    }

    /// One more frontend names the run.
    pub(super) fn acquire(&mut self, run: Run) {
        if run.count > 0
            && let Some(live) = self.live.get_mut(&run.first)
        {
            live.refs += 1;
        }
    }

    /// One frontend less names the run. After the last one it is free, and so are its backends.
    pub(super) fn release(&mut self, run: Run) -> Option<Arc<[u32]>> {
        if run.count == 0 {
            return None;
        }
        // A run that overlapped others is part of a longer extent.
        let (&first, live) = self.live.range_mut(..=run.first).next_back()?;
        live.refs = live.refs.saturating_sub(1);
        if live.refs > 0 {
            return None;
        }
        let live = self.live.remove(&first)?;
        self.used -= u64::from(live.count);
        let content = (live.service, live.backends.clone());
        if self.by_content.get(&content) == Some(&first) {
            self.by_content.remove(&content);
        }
        self.leaving.push(Run { first, count: live.count });
        Some(live.backends)
    }
}
