//! The smallest ordered list of table writes that turns what the kernel has into what it should have.
//!
//! Pure: it keeps a copy of the tables and hands out operations. A frontend is replaced by one write after
//! everything that it names has been written; what it named before rests for a grace period before reuse,
//! so that a program that read the old value still finds what it names.

mod audit;
mod backends;
mod extents;
mod guard;
mod maglev;
mod runs;
mod services;
mod shortage;
#[cfg(test)]
mod tests;
mod touched;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairway_common::limits;
use fairway_datapath::table::{Frontend, FrontendKey, Image, Op, Run};
use imbl::OrdMap;
pub use shortage::{Shortage, Table};

use crate::resolve::{BackendRef, Desired, DesiredFrontend, ServicePortName};
use backends::Backends;
use fairway_proto::model::ObjectName;
use guard::Ranges;
use maglev::Maglev;
use runs::Runs;
use services::Services;
use shortage::{Lack, Shortages};
use touched::Touched;

/// Who a backend is: its Service port's id, its address, its port.
pub type BackendKey = (u32, IpAddr, u16);

/// The Service port of the frontends that mean an address as a whole: no Service port has this id (S35).
const MARK: u32 = u32::MAX >> 1;

fn is_mark(frontend: &Frontend) -> bool {
    frontend.flags & Frontend::ADDRESS != 0
}

/// The key of the frontend that means an address as a whole.
fn mark_of(address: IpAddr) -> FrontendKey {
    FrontendKey { address, protocol: 0, port: 0 }
}

/// Sizes of the tables, and how long freed entries rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frontends of one family.
    pub frontends: u32,
    /// Slots, both families together.
    pub slots: u32,
    /// Backends, both families together. Id 0 is never given out.
    pub backends: u32,
    /// Source ranges, both families together.
    pub ranges: u32,
    /// How long freed slots and ids rest before reuse.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frontends: limits::FRONTENDS,
            slots: limits::SLOTS,
            backends: limits::BACKENDS,
            ranges: limits::RANGES,
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
    /// How many frontends were looked at.
    pub looked_at: usize,
}

/// The writes of frontends and of what they need, by table: those of one table go to the kernel together, and none of them
/// is seen before the frontends are.
#[derive(Default)]
struct Puts {
    backends: Vec<Op>,
    slots: Vec<Op>,
    frontends: Vec<Op>,
}

/// The tables as they are after everything planned so far, and who uses what in them.
#[derive(Debug)]
pub struct Reconciler {
    limits: Limits,
    frontends: BTreeMap<FrontendKey, Frontend>,
    /// How many of them are marks.
    marks: usize,
    /// What the last plan led to, apart from what it owes.
    planned: Desired,
    /// What the next plan has to look at, whatever is different then.
    owed: Touched,
    backends: Backends,
    runs: Runs,
    services: Services,
    ranges: Ranges,
    tables: Maglev,
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
        let ranges = Ranges::load(image.ranges, limits.ranges);
        let owed = Touched::all(&image.frontends);
        let marks = image.frontends.values().filter(|frontend| is_mark(frontend)).count();
        let (frontends, planned, tables) = (image.frontends, Desired::default(), Maglev::default());
        Self { limits, frontends, marks, planned, owed, backends, runs, services, ranges, tables }
    }

    /// Plans the way to `desired`. Every operation is taken as done: if one fails, [`Reconciler::load`] again.
    ///
    /// Only what is not as it was in the plan before is looked at, and what that one could not do; in the first plan
    /// that is everything.
    ///
    /// What lets clients in or keeps backends usable is written before the frontends that need it, what takes
    /// something away after all of them.
    pub fn plan(&mut self, desired: &Desired, now: Instant) -> Plan {
        let before = std::mem::replace(&mut self.planned, desired.clone());
        let touched = std::mem::take(&mut self.owed).and_different(&before, desired);
        self.runs.wake(now);
        self.services.assign(desired, &touched, &self.frontends, &self.backends);
        let mut plan = Plan { looked_at: touched.frontends.len(), ..Plan::default() };
        let mut shortages = Shortages::default();
        let mut lacks = Vec::new();
        let mut stuck = BTreeSet::new();
        self.delete(desired, &touched, &mut stuck, &mut plan.ops);
        let waiting = self.ranges.put(desired, &touched.ports, &self.services, &mut plan.ops, &mut shortages);
        self.owed.ports.extend(waiting);
        let mut puts = Puts::default();
        for key in &touched.frontends {
            let Some(wanted) = desired.frontends.get(key) else { continue };
            if let Err(lack) = self.put(*key, wanted, now, &mut stuck, &mut puts) {
                self.owed.frontends.insert(*key);
                lacks.push((lack, &wanted.name));
            }
        }
        plan.ops.extend(puts.backends.into_iter().chain(puts.slots).chain(puts.frontends));
        self.mark(desired, &touched.addresses, &mut plan.ops, &mut shortages);
        self.ranges.delete(desired, &self.services, &self.frontends, &mut plan.ops);
        self.forget_affinity(stuck, &mut plan.ops);
        self.backends.retire(|service| desired.serving.get(self.services.name(service)?), &mut plan.ops);
        for (lack, name) in lacks {
            // Only now it is known which backends begin to rest.
            let resting =
                lack.resting || lack.table == Table::Backends && self.backends.may_have(lack.needed);
            shortages.add(Lack { resting, ..lack }, name);
        }
        self.services.forget(desired, &touched.ports, &self.frontends);
        self.tables.clear();
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
    pub fn service_ids(&self) -> OrdMap<ServicePortName, u32> {
        self.services.ids()
    }

    /// Ids of the backends in use, by Service port, address and port.
    pub fn backend_ids(&self) -> OrdMap<BackendKey, u32> {
        self.backends.ids()
    }

    /// How many entries of each table are in use.
    pub fn usage(&self) -> Usage {
        Usage {
            frontends: (self.frontends.len() - self.marks) as u64,
            slots: self.runs.used(),
            backends: self.backends.used(),
        }
    }

    fn delete(&mut self, desired: &Desired, touched: &Touched, stuck: &mut BTreeSet<u32>, ops: &mut Vec<Op>) {
        let marks = touched.addresses.iter().filter(|address| !desired.addresses.contains(*address));
        let frontends = touched.frontends.iter().filter(|key| !desired.frontends.contains_key(*key));
        let gone: BTreeSet<FrontendKey> = frontends.copied().chain(marks.copied().map(mark_of)).collect();
        for key in gone {
            let Some(old) = self.frontends.remove(&key) else { continue };
            ops.push(Op::DeleteFrontend { key });
            self.marks -= usize::from(is_mark(&old));
            self.release(old.inside);
            self.release(old.outside);
            stuck.extend((old.affinity > 0).then_some(old.service));
        }
    }

    /// Writes the frontends that mean an address as a whole (S35).
    fn mark(
        &mut self,
        desired: &Desired,
        touched: &BTreeSet<IpAddr>,
        ops: &mut Vec<Op>,
        shortages: &mut Shortages,
    ) {
        for address in touched.iter().filter(|address| desired.addresses.contains(*address)) {
            let key = mark_of(*address);
            if self.frontends.contains_key(&key) {
                continue;
            }
            if let Err(lack) = self.room_for_frontend(key) {
                self.owed.addresses.insert(*address);
                let service = ObjectName::new("", address.to_string());
                shortages.add(lack, &ServicePortName { service, port: "".into(), protocol: 0 });
                continue;
            }
            let value = Frontend { service: MARK, flags: Frontend::ADDRESS, ..Frontend::default() };
            ops.push(Op::PutFrontend { key, value });
            self.frontends.insert(key, value);
            self.marks += 1;
        }
    }

    fn put(
        &mut self,
        key: FrontendKey,
        wanted: &DesiredFrontend,
        now: Instant,
        stuck: &mut BTreeSet<u32>,
        puts: &mut Puts,
    ) -> Result<(), Lack> {
        let old = self.frontends.get(&key).copied();
        if old.is_none() {
            self.room_for_frontend(key)?;
        }
        let service = self.services.id(&wanted.name);
        let [inside, outside] = self.place(service, wanted, now, puts)?;
        let DesiredFrontend { flags, affinity, .. } = *wanted;
        let value = Frontend { inside, outside, service, flags, affinity, pad: 0 };
        if old != Some(value) {
            puts.frontends.push(Op::PutFrontend { key, value });
            self.frontends.insert(key, value);
        }
        if let Some(old) = old {
            self.release(old.inside);
            self.release(old.outside);
            let kept = affinity > 0 && service == old.service;
            stuck.extend((old.affinity > 0 && !kept).then_some(old.service));
        }
        Ok(())
    }

    /// Service ports whose frontends have no affinity any more must not find old clients' choices when they have it
    /// again (S66).
    fn forget_affinity(&self, mut stuck: BTreeSet<u32>, ops: &mut Vec<Op>) {
        if stuck.is_empty() {
            return;
        }
        for frontend in self.frontends.values().filter(|frontend| frontend.affinity > 0) {
            stuck.remove(&frontend.service);
        }
        ops.extend(stuck.into_iter().map(|service| Op::ForgetAffinity { service }));
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

    /// Finds or makes a run for each side, and holds both. After an error nothing has changed.
    fn place(
        &mut self,
        service: u32,
        wanted: &DesiredFrontend,
        now: Instant,
        puts: &mut Puts,
    ) -> Result<[Run; 2], Lack> {
        let sets = [&wanted.inside, &wanted.outside];
        let hashed = wanted.flags & Frontend::HASHED != 0;
        let mut content = |set| if hashed { self.tables.table(set) } else { set.clone() };
        let all = [content(sets[0]), content(sets[1])];
        let distinct = if all[0] == all[1] { &all[..1] } else { &all[..] };
        let held = self.backends.hold(service, sets.into_iter().flat_map(|set| set.iter()));
        let placed = self.place_distinct(service, sets, distinct, now, puts);
        self.backends.unhold(held);
        let runs = placed?;
        let runs = [runs[0], *runs.last().unwrap_or(&runs[0])];
        runs.into_iter().for_each(|run| self.runs.acquire(run));
        Ok(runs)
    }

    fn place_distinct(
        &mut self,
        service: u32,
        sets: [&Arc<[BackendRef]>; 2],
        contents: &[Arc<[BackendRef]>],
        now: Instant,
        puts: &mut Puts,
    ) -> Result<Vec<Run>, Lack> {
        let backends = || sets.into_iter().flat_map(|set| set.iter());
        self.backends.room_for(service, backends(), now)?;
        let mut runs: Vec<(Run, bool)> = Vec::new();
        for content in contents {
            let known =
                self.backends.find_all(service, content).and_then(|ids| self.runs.find(service, &ids));
            match known.map(Ok).unwrap_or_else(|| self.runs.reserve(content.len())) {
                Ok(run) => runs.push((run, known.is_none() && run.count > 0)),
                Err(lack) => {
                    let reserved = runs.into_iter().filter(|(_, new)| *new);
                    reserved.for_each(|(run, _)| self.runs.give_back(run));
                    return Err(lack);
                }
            }
        }
        self.backends.make_usable(service, backends(), now, &mut puts.backends);
        for (content, (run, _)) in contents.iter().zip(&runs).filter(|(_, (_, new))| *new) {
            let ids = self.backends.find_all(service, content).unwrap_or_default();
            ids.iter().for_each(|id| self.backends.acquire(*id));
            puts.slots.push(Op::PutSlots { first: run.first, backends: ids.clone() });
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
