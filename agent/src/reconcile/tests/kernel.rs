//! A model of the kernel's tables that refuses what could harm a packet.

use std::collections::{BTreeSet, HashMap};

use fairway_datapath::table::{Backend, Range, StateVersion, Tables};

use super::*;

/// Why the model refused a write.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the process died before this write was complete")]
    Died,
    #[error("{0}")]
    Harmful(String),
}

/// What a frontend stands for, read through all tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) inside: Vec<BackendRef>,
    pub(super) outside: Vec<BackendRef>,
    pub(super) flags: u32,
    pub(super) affinity: u32,
}

pub(super) struct Kernel {
    pub(super) limits: Limits,
    pub(super) now: Instant,
    /// Writes until the process dies.
    pub(super) dies_after: Option<usize>,
    frontends: BTreeMap<FrontendKey, Frontend>,
    slots: HashMap<u32, u32>,
    backends: HashMap<u32, Backend>,
    ranges: BTreeSet<Range>,
    /// Service ports whose clients may have made choices.
    pub(super) choices: BTreeSet<u32>,
    /// When a packet could last have read it.
    slot_seen: HashMap<u32, Instant>,
    backend_seen: HashMap<u32, Instant>,
}

fn places(frontend: &Frontend) -> impl Iterator<Item = u32> + use<> {
    [frontend.inside, frontend.outside].into_iter().flat_map(|run| run.first..run.first + run.count)
}

impl Kernel {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            now: Instant::now(),
            dies_after: None,
            frontends: BTreeMap::new(),
            slots: HashMap::new(),
            backends: HashMap::new(),
            ranges: BTreeSet::new(),
            choices: BTreeSet::new(),
            slot_seen: HashMap::new(),
            backend_seen: HashMap::new(),
        }
    }

    pub(super) fn set(&mut self, image: Image) {
        self.frontends = image.frontends;
        self.slots = image.slots.into_iter().collect();
        self.backends = image.backends.into_iter().collect();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn keys(&self) -> Vec<FrontendKey> {
        self.frontends.keys().copied().collect()
    }

    /// What a packet to `key` would find; panics where it would find nothing sound.
    pub(super) fn resolved(&self, key: &FrontendKey) -> Option<Resolved> {
        let frontend = self.frontends.get(key)?;
        let set = |run: Run| {
            (run.first..run.first + run.count)
                .map(|slot| {
                    let id = self.slots.get(&slot).expect("a slot that was never written");
                    let backend = self.backends.get(id).expect("a backend that was never written");
                    assert_eq!(backend.address.is_ipv4(), key.address.is_ipv4());
                    BackendRef { address: backend.address, port: backend.port, flags: backend.flags }
                })
                .collect()
        };
        let (inside, outside) = (set(frontend.inside), set(frontend.outside));
        Some(Resolved { inside, outside, flags: frontend.flags, affinity: frontend.affinity })
    }

    fn see(&mut self, frontend: Frontend) {
        for slot in places(&frontend) {
            self.slot_seen.insert(slot, self.now);
            if let Some(id) = self.slots.get(&slot) {
                self.backend_seen.insert(*id, self.now);
            }
        }
    }

    /// A place may be written if no packet reads it, nor could have within the grace period.
    fn writable(&self, what: &str, number: u32, seen: Option<&Instant>, read: bool) -> Result<(), Refused> {
        if read {
            return Err(Refused::Harmful(format!("{what} {number} is in use")));
        }
        match seen {
            Some(seen) if self.now - *seen < self.limits.grace => {
                Err(Refused::Harmful(format!("{what} {number} was in use {:?} ago", self.now - *seen)))
            }
            _ => Ok(()),
        }
    }

    fn in_use(&self) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let slots: BTreeSet<u32> = self.frontends.values().flat_map(places).collect();
        let backends = slots.iter().filter_map(|slot| self.slots.get(slot).copied()).collect();
        (slots, backends)
    }

    fn write(&mut self, op: &Op, whole: bool) -> Result<(), Refused> {
        let (slots, backends) = self.in_use();
        match op {
            Op::PutBackend { id, backend } => {
                assert!(*id > 0 && *id < self.limits.backends);
                let before = self.backends.get(id);
                let who = |backend: &Backend| (backend.service, backend.address, backend.port);
                let in_use = backends.contains(id);
                if before.is_some_and(|before| who(before) == who(backend)) {
                    let retired = backend_flags::DRAINING | backend_flags::GONE;
                    if in_use && backend.flags & retired != 0 {
                        return Err(Refused::Harmful(format!("backend {id} is retired while in use")));
                    }
                } else {
                    // Connections may remember it until it is gone.
                    let alive = before.is_some_and(|before| before.flags & backend_flags::GONE == 0);
                    self.writable("backend", *id, self.backend_seen.get(id), in_use || alive)?;
                }
                if before.is_none_or(|before| before.flags & backend_flags::GONE == 0) {
                    self.backend_seen.insert(*id, self.now);
                }
                self.backends.insert(*id, *backend);
            }
            Op::PutSlots { first, backends } => {
                let count = if whole { backends.len() } else { backends.len() / 2 };
                for (slot, id) in (*first..).zip(backends).take(count) {
                    assert!(slot < self.limits.slots);
                    self.writable("slot", slot, self.slot_seen.get(&slot), slots.contains(&slot))?;
                    self.slots.insert(slot, *id);
                }
            }
            Op::PutFrontend { key, value } => {
                assert_ne!(value.service, 0);
                let named = places(value).filter_map(|slot| self.slots.get(&slot));
                let unfit = |id: &u32| {
                    self.backends.get(id).is_none_or(|backend| {
                        let retired = backend_flags::DRAINING | backend_flags::GONE;
                        backend.service != value.service || backend.flags & retired != 0
                    })
                };
                if let Some(id) = named.copied().find(unfit) {
                    return Err(Refused::Harmful(format!("{key:?} names backend {id}, which is not usable")));
                }
                let guarded = value.flags & Frontend::RANGES != 0;
                if guarded && !self.ranges.iter().any(|range| range.service == value.service) {
                    return Err(Refused::Harmful(format!("{key:?} is guarded without ranges")));
                }
                self.choices.extend((value.affinity > 0).then_some(value.service));
                if let Some(old) = self.frontends.insert(*key, *value) {
                    self.see(old);
                }
            }
            Op::DeleteFrontend { key } => {
                if let Some(old) = self.frontends.remove(key) {
                    self.see(old);
                }
            }
            Op::PutRange { range } => drop(self.ranges.insert(*range)),
            Op::DeleteRange { range } => {
                self.ranges.remove(range);
                let mut guarded = self.frontends.iter().filter(|(_, it)| it.flags & Frontend::RANGES != 0);
                let last = !self.ranges.iter().any(|it| it.service == range.service);
                if let Some((key, _)) = guarded.find(|(_, it)| last && it.service == range.service) {
                    return Err(Refused::Harmful(format!("{key:?} loses its last range while guarded")));
                }
            }
            Op::ForgetAffinity { service } => {
                let keeps = |it: &Frontend| it.service == *service && it.affinity > 0;
                if let Some((key, _)) = self.frontends.iter().find(|(_, it)| keeps(it)) {
                    return Err(Refused::Harmful(format!("{key:?} has affinity that is forgotten")));
                }
                self.choices.remove(service);
            }
        }
        Ok(())
    }
}

impl Tables for Kernel {
    type Error = Refused;

    fn image(&self) -> Result<Image, Refused> {
        let (slots, _) = self.in_use();
        Ok(Image {
            frontends: self.frontends.clone(),
            slots: slots.iter().filter_map(|slot| Some((*slot, *self.slots.get(slot)?))).collect(),
            backends: self.backends.iter().map(|(id, backend)| (*id, *backend)).collect(),
            ranges: self.ranges.clone(),
        })
    }

    fn apply(&mut self, op: &Op) -> Result<(), Refused> {
        match self.dies_after {
            Some(0) => {
                // Only slots are more than one write.
                if matches!(op, Op::PutSlots { .. }) {
                    self.write(op, false)?;
                }
                return Err(Refused::Died);
            }
            Some(left) => self.dies_after = Some(left - 1),
            None => {}
        }
        self.write(op, true)
    }

    fn begun(&self) -> Result<StateVersion, Refused> {
        Ok(StateVersion::default())
    }

    fn begin(&mut self, _: StateVersion) -> Result<(), Refused> {
        Ok(())
    }
}
