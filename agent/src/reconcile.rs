//! The smallest ordered list of table writes that turns what the kernel has into what it should have.
//!
//! Pure: it keeps a copy of the tables and hands out operations. A frontend is replaced by one write after
//! everything that it names has been written; what it named before rests for a grace period before reuse,
//! so that a program that read the old value still finds what it names.

mod backends;
mod extents;
mod runs;
mod services;
mod shortage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fairway_common::limits;
use fairway_datapath::table::{Frontend, FrontendKey, Image, Op, Run};
pub use shortage::{Shortage, Table};

use crate::resolve::{BackendRef, Desired, DesiredFrontend, ServicePortName};
use backends::Backends;
use runs::Runs;
use services::Services;
use shortage::{Lack, Shortages};

/// Sizes of the tables, and how long freed entries rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frontends of one family.
    pub frontends: u32,
    /// Slots, both families together.
    pub slots: u32,
    /// Backends, both families together. Id 0 is never given out.
    pub backends: u32,
    /// How long freed slots and ids rest before reuse.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frontends: limits::FRONTENDS,
            slots: limits::SLOTS,
            backends: limits::BACKENDS,
            grace: Duration::from_secs(1),
        }
    }
}

/// What is to be written, in this order.
#[derive(Debug, Default)]
pub struct Plan {
    /// The writes. After all of them succeeded: [`Reconciler::applied`].
    pub ops: Vec<Op>,
    /// What did not fit. Frontends concerned keep their old state.
    pub shortages: Vec<Shortage>,
    /// Some frontends wait for freed entries to have rested: plan again at this time.
    pub again_at: Option<Instant>,
}

/// The tables as they are after everything planned so far, and who uses what in them.
#[derive(Debug)]
pub struct Reconciler {
    limits: Limits,
    frontends: BTreeMap<FrontendKey, Frontend>,
    /// What the frontends in force stand for.
    served: HashMap<FrontendKey, DesiredFrontend>,
    backends: Backends,
    runs: Runs,
    services: Services,
}

impl Reconciler {
    /// Starts from what the kernel holds.
    ///
    /// `rested` says that nothing was freed just now, as at the start of a process; otherwise everything that
    /// is free rests from `now` on.
    pub fn load(image: Image, limits: Limits, now: Instant, rested: bool) -> Self {
        let released = (!rested).then_some(now);
        let mut backends = Backends::load(&image, limits, released);
        let runs = Runs::load(&image, limits, released);
        for id in runs.named_backends() {
            backends.acquire(id);
        }
        let services = Services::load(&image);
        Self { limits, frontends: image.frontends, served: HashMap::new(), backends, runs, services }
    }

    /// Plans the way to `desired`. Every operation is taken as done: if one fails, [`Reconciler::load`] again.
    pub fn plan(&mut self, desired: &Desired, now: Instant) -> Plan {
        self.runs.wake(now);
        self.services.assign(desired, &self.frontends);
        let mut plan = Plan::default();
        self.delete(desired, &mut plan.ops);
        let mut shortages = Shortages::default();
        for (key, wanted) in &desired.frontends {
            if self.served.get(key) == Some(wanted) {
                continue;
            }
            if let Err(lack) = self.put(*key, wanted, now, &mut plan.ops) {
                shortages.add(lack, &wanted.name);
            }
        }
        self.services.forget(desired, &self.frontends);
        plan.again_at = shortages.waiting().then_some(now + self.limits.grace);
        plan.shortages = shortages.into_list();
        plan
    }

    /// All operations of the last plan are done: what they freed begins to rest.
    pub fn applied(&mut self, now: Instant) {
        self.runs.settle(now);
        self.backends.settle(now);
    }

    /// Ids of the Service ports.
    pub fn service_ids(&self) -> BTreeMap<ServicePortName, u32> {
        self.services.ids()
    }

    /// Ids of the backends in use, by address and port.
    pub fn backend_ids(&self) -> BTreeMap<(IpAddr, u16), u32> {
        self.backends.ids()
    }

    /// How many entries of each table are in use.
    pub fn usage(&self) -> Usage {
        Usage {
            frontends: self.frontends.len() as u64,
            slots: self.runs.used(),
            backends: self.backends.used(),
        }
    }

    fn delete(&mut self, desired: &Desired, ops: &mut Vec<Op>) {
        let gone: Vec<FrontendKey> =
            self.frontends.keys().filter(|key| !desired.frontends.contains_key(key)).copied().collect();
        for key in gone {
            ops.push(Op::DeleteFrontend { key });
            self.served.remove(&key);
            if let Some(old) = self.frontends.remove(&key) {
                self.release(old.inside);
                self.release(old.outside);
            }
        }
    }

    fn put(
        &mut self,
        key: FrontendKey,
        wanted: &DesiredFrontend,
        now: Instant,
        ops: &mut Vec<Op>,
    ) -> Result<(), Lack> {
        let old = self.frontends.get(&key).copied();
        if old.is_none() {
            self.room_for_frontend(key)?;
        }
        let service = self.services.id(&wanted.name);
        let [inside, outside] = self.place(service, [&wanted.inside, &wanted.outside], now, ops)?;
        let value = Frontend { inside, outside, service, flags: wanted.flags, ..Frontend::default() };
        if old != Some(value) {
            ops.push(Op::PutFrontend { key, value });
            self.frontends.insert(key, value);
        }
        if let Some(old) = old {
            self.release(old.inside);
            self.release(old.outside);
        }
        self.served.insert(key, wanted.clone());
        Ok(())
    }

    fn room_for_frontend(&self, key: FrontendKey) -> Result<(), Lack> {
        let same_family = |other: &&FrontendKey| other.address.is_ipv4() == key.address.is_ipv4();
        let capacity = self.limits.frontends;
        // Counting is only worth it when the table could be full.
        if self.frontends.len() < capacity as usize
            || self.frontends.keys().filter(same_family).count() < capacity as usize
        {
            return Ok(());
        }
        Err(Lack { table: Table::Frontends, needed: 1, free: 0, resting: false })
    }

    /// Finds or makes a run for each set, and holds both. After an error nothing has changed.
    fn place(
        &mut self,
        service: u32,
        sets: [&[BackendRef]; 2],
        now: Instant,
        ops: &mut Vec<Op>,
    ) -> Result<[Run; 2], Lack> {
        let distinct = if sets[0] == sets[1] { &sets[..1] } else { &sets[..] };
        let held = self.backends.hold(service, distinct.iter().copied().flatten());
        let placed = self.place_distinct(service, distinct, now, ops);
        self.backends.unhold(held);
        let runs = placed?;
        let runs = [runs[0], *runs.last().unwrap_or(&runs[0])];
        runs.into_iter().for_each(|run| self.runs.acquire(run));
        Ok(runs)
    }

    fn place_distinct(
        &mut self,
        service: u32,
        sets: &[&[BackendRef]],
        now: Instant,
        ops: &mut Vec<Op>,
    ) -> Result<Vec<Run>, Lack> {
        self.backends.room_for(service, sets.iter().copied().flatten(), now)?;
        let mut runs: Vec<(Run, bool)> = Vec::new();
        for set in sets {
            let known = self.backends.find_all(service, set).and_then(|ids| self.runs.find(service, &ids));
            match known.map(Ok).unwrap_or_else(|| self.runs.reserve(set.len())) {
                Ok(run) => runs.push((run, known.is_none() && run.count > 0)),
                Err(lack) => {
                    let reserved = runs.into_iter().filter(|(_, new)| *new);
                    reserved.for_each(|(run, _)| self.runs.give_back(run));
                    return Err(lack);
                }
            }
        }
        for (set, (run, _)) in sets.iter().zip(&runs).filter(|(_, (_, new))| *new) {
            let ids = self.backends.find_or_put(service, set, now, ops);
            ids.iter().for_each(|id| self.backends.acquire(*id));
            ops.push(Op::PutSlots { first: run.first, backends: ids.clone() });
            self.runs.register(service, *run, ids);
        }
        Ok(runs.into_iter().map(|(run, _)| run).collect())
    }

    fn release(&mut self, run: Run) {
        for id in self.runs.release(run).iter().flat_map(|ids| ids.iter()) {
            self.backends.release(*id);
        }
    }
}

/// How many entries of each table are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Frontends of both families.
    pub frontends: u64,
    /// Slots.
    pub slots: u64,
    /// Backends of both families.
    pub backends: u64,
}
