//! Backend ids: who has which, which still answer, and which are free.

mod free;
mod records;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairway_datapath::table::{Backend, Image, Op, backend_flags};
use hashbrown::HashSet;
use imbl::OrdMap;

use super::shortage::{Lack, Table};
use super::{BackendKey, Limits};
use crate::resolve::BackendRef;
use free::Free;
use records::{Record, Records};

/// All ids. One belongs to a backend of a Service port, and keeps to it from the first run that names it until the
/// endpoint does not answer any more; then it rests and is free.
#[derive(Debug)]
pub(super) struct Backends {
    grace: Duration,
    /// Also of ids that are free: a backend that comes back gets the id that it had.
    records: Records,
    free: Free,
    /// Ids that no run names and that are not gone: they still answer, or did when last looked at.
    idle: BTreeSet<u32>,
    /// Gone by the plan that is being carried out.
    leaving: Vec<u32>,
    /// Ids that runs name.
    used: OrdMap<BackendKey, u32>,
}

fn key_of(backend: &Backend) -> BackendKey {
    (backend.service, backend.address, backend.port)
}

fn key(service: u32, backend: &BackendRef) -> BackendKey {
    (service, backend.address, backend.port)
}

/// No run names the id any more. Another one may stand for the same backend.
fn unused(used: &mut OrdMap<BackendKey, u32>, id: u32, backend: &Backend) {
    if used.get(&key_of(backend)) == Some(&id) {
        used.remove(&key_of(backend));
    }
}

impl Backends {
    pub(super) fn load(image: &Image, limits: Limits, released: Option<Instant>) -> Self {
        // A slot may name an id that was never written: that one is not given out either.
        let named: HashSet<u32> = image.slots.values().copied().collect();
        let gone = |backend: &Backend| backend.flags & backend_flags::GONE != 0;
        let busy = |id: &u32| named.contains(id) || image.backends.get(id).is_some_and(|it| !gone(it));
        // Of two ids the one that is not gone, and then the one in use.
        let rank = |id: &u32| (image.backends.get(id).is_some_and(gone), !named.contains(id));
        let mut records = Records::default();
        for (id, backend) in &image.backends {
            let record = Record { backend: *backend, refs: 0, released };
            records.put(*id, record, |known| rank(id) < rank(&known));
        }
        let idle = image.backends.iter().filter(|(id, backend)| !gone(backend) && !named.contains(*id));
        let last = image.backends.keys().chain(&named).max().copied().unwrap_or(0);
        Self {
            grace: limits.grace,
            idle: idle.map(|(id, _)| *id).collect(),
            records,
            free: Free::new(last, limits.backends, released, |id| busy(&id)),
            leaving: Vec::new(),
            used: OrdMap::new(),
        }
    }

    /// Everything that was ever written.
    pub(super) fn written(&self) -> impl Iterator<Item = (u32, Backend)> {
        self.records.iter().map(|(id, record)| (id, record.backend))
    }

    /// Ids in use.
    pub(super) fn ids(&self) -> OrdMap<BackendKey, u32> {
        self.used.clone()
    }

    pub(super) fn used(&self) -> u64 {
        self.used.len() as u64
    }

    /// Whose every id is or was last, and whether it is gone.
    pub(super) fn known(&self) -> impl Iterator<Item = (BackendKey, bool)> {
        self.records.iter().map(|(_, record)| (key_of(&record.backend), record.gone()))
    }

    /// What the last plan freed begins to rest.
    pub(super) fn settle(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.leaving) {
            if let Some(record) = self.records.get_mut(id)
                && record.refs == 0
            {
                record.released = Some(now);
                self.free.insert(record.released, id);
            }
        }
    }

    /// One more run names the id.
    pub(super) fn acquire(&mut self, id: u32) {
        if let Some(record) = self.records.get_mut(id) {
            if record.refs == 0 {
                self.free.remove(record.released, id);
                self.idle.remove(&id);
                self.used.insert(key_of(&record.backend), id);
            }
            record.refs += 1;
        }
    }

    /// One run less names the id.
    pub(super) fn release(&mut self, id: u32) {
        if let Some(record) = self.records.get_mut(id) {
            record.refs = record.refs.saturating_sub(1);
            if record.refs == 0 {
                self.idle.insert(id);
                unused(&mut self.used, id, &record.backend);
            }
        }
    }

    /// Keeps free ids that hold one of these backends from being given to others.
    pub(super) fn hold<'a>(
        &mut self,
        service: u32,
        backends: impl Iterator<Item = &'a BackendRef>,
    ) -> Vec<u32> {
        let held: Vec<u32> = backends.filter_map(|backend| self.records.id(&key(service, backend))).collect();
        held.iter().for_each(|id| self.acquire(*id));
        held
    }

    /// Ends a hold.
    pub(super) fn unhold(&mut self, held: Vec<u32>) {
        for id in held {
            let Some(record) = self.records.get_mut(id) else { continue };
            record.refs = record.refs.saturating_sub(1);
            if record.refs == 0 {
                unused(&mut self.used, id, &record.backend);
            }
            match record.refs {
                0 if record.gone() => self.free.insert(record.released, id),
                0 => drop(self.idle.insert(id)),
                _ => {}
            }
        }
    }

    /// Whether those backends that have no id can get one.
    pub(super) fn room_for<'a>(
        &self,
        service: u32,
        backends: impl Iterator<Item = &'a BackendRef>,
        now: Instant,
    ) -> Result<(), Lack> {
        let new: HashSet<BackendKey> = backends
            .map(|backend| key(service, backend))
            .filter(|key| self.records.id(key).is_none())
            .collect();
        let needed = new.len();
        let rested = |most| self.free.rested(most, |released| self.rested(released, now));
        if rested(needed) >= needed {
            return Ok(());
        }
        let free = rested(usize::MAX);
        Err(Lack { table: Table::Backends, needed: needed as u64, free: free as u64, resting: false })
    }

    /// Whether there are as many free ids when all have rested. To be called after [`Backends::retire`].
    pub(super) fn may_have(&self, needed: u64) -> bool {
        (self.free.len() + self.leaving.len()) as u64 >= needed
    }

    fn rested(&self, released: Option<Instant>, now: Instant) -> bool {
        released.is_none_or(|released| now.saturating_duration_since(released) >= self.grace)
    }

    /// The ids, if all of them have one.
    pub(super) fn find_all(&self, service: u32, backends: &[BackendRef]) -> Option<Vec<u32>> {
        backends.iter().map(|backend| self.records.id(&key(service, backend))).collect()
    }

    /// Gives an id to those without one, and makes all of them usable. To be called after [`Backends::room_for`].
    pub(super) fn make_usable<'a>(
        &mut self,
        service: u32,
        backends: impl Iterator<Item = &'a BackendRef>,
        now: Instant,
        ops: &mut Vec<Op>,
    ) {
        for backend in backends {
            match self.records.id(&key(service, backend)) {
                Some(id) => self.set_flags(id, backend.flags, ops),
                None => self.put(service, *backend, now, ops),
            }
        }
    }

    fn set_flags(&mut self, id: u32, flags: u16, ops: &mut Vec<Op>) {
        if let Some(record) = self.records.get_mut(id)
            && record.backend.flags != flags
        {
            record.backend.flags = flags;
            ops.push(Op::PutBackend { id, backend: record.backend });
        }
    }

    fn put(&mut self, service: u32, wanted: BackendRef, now: Instant, ops: &mut Vec<Op>) {
        let Some((released, id)) = self.free.pop() else { return };
        debug_assert!(self.rested(released, now));
        let BackendRef { address, port, flags } = wanted;
        let backend = Backend { address, port, flags, service };
        ops.push(Op::PutBackend { id, backend });
        self.records.put(id, Record { backend, refs: 0, released }, |_| true);
        // Until a run names it.
        self.idle.insert(id);
    }

    /// Marks what no run names: draining as long as the endpoint answers (S57), then gone (S54).
    pub(super) fn retire<'a>(
        &mut self,
        serving: impl Fn(u32) -> Option<&'a Arc<[BackendRef]>>,
        ops: &mut Vec<Op>,
    ) {
        for id in std::mem::take(&mut self.idle) {
            let Some(record) = self.records.get(id) else { continue };
            let Backend { address, port, service, flags } = record.backend;
            let endpoint = serving(service).and_then(|all| {
                let place = all.binary_search_by_key(&(address, port), |it| (it.address, it.port)).ok()?;
                Some(all[place].flags)
            });
            match endpoint {
                Some(local) => {
                    self.idle.insert(id);
                    self.set_flags(id, local | backend_flags::DRAINING, ops);
                }
                None => {
                    self.leaving.push(id);
                    self.set_flags(id, flags & backend_flags::LOCAL | backend_flags::GONE, ops);
                }
            }
        }
    }
}
