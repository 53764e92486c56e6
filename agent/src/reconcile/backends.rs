//! Backend ids: who has which, and which are free.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fairway_datapath::table::{Backend, Image, Op};

use super::Limits;
use super::shortage::{Lack, Table};
use crate::resolve::BackendRef;

/// An id that was written at least once.
#[derive(Debug)]
struct Record {
    backend: Backend,
    /// Runs that name it.
    refs: u32,
    /// When the last of them went.
    released: Option<Instant>,
}

/// All ids.
#[derive(Debug)]
pub(super) struct Backends {
    grace: Duration,
    records: HashMap<u32, Record>,
    /// Also of ids that are free: as long as the kernel holds the same backend there, it need not be written.
    by_backend: HashMap<(u32, BackendRef), u32>,
    /// Free ids, those that have rested longest first.
    free: BTreeSet<(Option<Instant>, u32)>,
    /// Freed by the plan that is being carried out.
    leaving: Vec<u32>,
}

/// A backend of a Service port: a backend of two has two ids.
fn reference(backend: &Backend) -> (u32, BackendRef) {
    let Backend { address, port, flags, service } = *backend;
    (service, BackendRef { address, port, flags })
}

impl Backends {
    pub(super) fn load(image: &Image, limits: Limits, released: Option<Instant>) -> Self {
        // A slot may name an id that was never written: that one is not given out either.
        let named: HashSet<u32> = image.slots.values().copied().collect();
        let record = |backend: &Backend| Record { backend: *backend, refs: 0, released };
        Self {
            grace: limits.grace,
            records: image.backends.iter().map(|(id, backend)| (*id, record(backend))).collect(),
            by_backend: image.backends.iter().map(|(id, backend)| (reference(backend), *id)).collect(),
            free: (1..limits.backends).filter(|id| !named.contains(id)).map(|id| (released, id)).collect(),
            leaving: Vec::new(),
        }
    }

    /// Ids in use.
    pub(super) fn ids(&self) -> BTreeMap<(IpAddr, u16), u32> {
        let used = self.records.iter().filter(|(_, record)| record.refs > 0);
        used.map(|(id, record)| ((record.backend.address, record.backend.port), *id)).collect()
    }

    pub(super) fn used(&self) -> u64 {
        self.records.values().filter(|record| record.refs > 0).count() as u64
    }

    /// What the last plan freed begins to rest.
    pub(super) fn settle(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.leaving) {
            if let Some(record) = self.records.get_mut(&id)
                && record.refs == 0
            {
                record.released = Some(now);
                self.free.insert((record.released, id));
            }
        }
    }

    /// One more run names the id.
    pub(super) fn acquire(&mut self, id: u32) {
        if let Some(record) = self.records.get_mut(&id) {
            if record.refs == 0 {
                self.free.remove(&(record.released, id));
            }
            record.refs += 1;
        }
    }

    /// One run less names the id.
    pub(super) fn release(&mut self, id: u32) {
        if let Some(record) = self.records.get_mut(&id) {
            record.refs = record.refs.saturating_sub(1);
            if record.refs == 0 {
                self.leaving.push(id);
            }
        }
    }

    /// Keeps free ids that hold one of these backends from being given to others.
    pub(super) fn hold<'a>(
        &mut self,
        service: u32,
        backends: impl Iterator<Item = &'a BackendRef>,
    ) -> Vec<u32> {
        let held: Vec<u32> =
            backends.filter_map(|backend| self.by_backend.get(&(service, *backend)).copied()).collect();
        held.iter().for_each(|id| self.acquire(*id));
        held
    }

    /// Ends a hold.
    pub(super) fn unhold(&mut self, held: Vec<u32>) {
        for id in held {
            if let Some(record) = self.records.get_mut(&id) {
                record.refs -= 1;
                if record.refs == 0 && !self.leaving.contains(&id) {
                    self.free.insert((record.released, id));
                }
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
        let new: BTreeSet<&BackendRef> =
            backends.filter(|backend| !self.by_backend.contains_key(&(service, **backend))).collect();
        let needed = new.len();
        let rested = self.free.iter().take(needed).take_while(|(released, _)| self.rested(*released, now));
        if rested.count() == needed {
            return Ok(());
        }
        let free = self.free.iter().take_while(|(released, _)| self.rested(*released, now)).count();
        let resting = self.free.len() + self.leaving.len() >= needed;
        Err(Lack { table: Table::Backends, needed: needed as u64, free: free as u64, resting })
    }

    fn rested(&self, released: Option<Instant>, now: Instant) -> bool {
        released.is_none_or(|released| now.saturating_duration_since(released) >= self.grace)
    }

    /// The ids, if all of them have one.
    pub(super) fn find_all(&self, service: u32, backends: &[BackendRef]) -> Option<Vec<u32>> {
        backends.iter().map(|backend| self.by_backend.get(&(service, *backend)).copied()).collect()
    }

    /// The ids; those without one get one. To be called after [`Backends::room_for`].
    pub(super) fn find_or_put(
        &mut self,
        service: u32,
        backends: &[BackendRef],
        now: Instant,
        ops: &mut Vec<Op>,
    ) -> Vec<u32> {
        let id = |backend: &BackendRef| {
            let known = self.by_backend.get(&(service, *backend)).copied();
            known.or_else(|| self.put(service, *backend, now, ops))
        };
        backends.iter().filter_map(id).collect()
    }

    fn put(&mut self, service: u32, wanted: BackendRef, now: Instant, ops: &mut Vec<Op>) -> Option<u32> {
        let (released, id) = *self.free.first()?;
        debug_assert!(self.rested(released, now));
        self.free.remove(&(released, id));
        let before = self.records.remove(&id);
        if let Some(before) = &before
            && self.by_backend.get(&reference(&before.backend)) == Some(&id)
        {
            self.by_backend.remove(&reference(&before.backend));
        }
        let BackendRef { address, port, flags } = wanted;
        let backend = Backend { address, port, flags, service };
        ops.push(Op::PutBackend { id, backend });
        self.by_backend.insert((service, wanted), id);
        self.records.insert(id, Record { backend, refs: 0, released });
        Some(id)
    }
}
