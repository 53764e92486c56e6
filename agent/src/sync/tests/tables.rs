//! Tables in memory.

use std::collections::BTreeMap;

use fairway_datapath::table::{Backend, Frontend, Image, Op, Run, StateVersion, Tables};

#[derive(Debug, Default)]
pub(super) struct Memory {
    image: Image,
    slots: BTreeMap<u32, u32>,
    backends: BTreeMap<u32, Backend>,
    version: StateVersion,
    pub(super) writes: usize,
    /// Writes until all others fail.
    pub(super) fail_after: Option<usize>,
}

#[derive(Debug, thiserror::Error)]
#[error("no more writes")]
pub(super) struct Full;

impl Memory {
    /// `frontend -> backends` for clients of this node, sorted.
    pub(super) fn served(&self) -> Vec<String> {
        let image = self.image().unwrap();
        let backends = |run: Run| {
            let ids = (run.first..run.first + run.count).map(|slot| &image.backends[&image.slots[&slot]]);
            ids.map(|backend| format!("{}:{}", backend.address, backend.port)).collect::<Vec<_>>().join(" ")
        };
        let is_frontend = |value: &Frontend| value.flags & (Frontend::ADDRESS | Frontend::INSIDE_ONLY) == 0;
        let frontends = image.frontends.iter().filter(|(_, value)| is_frontend(value));
        frontends
            .map(|(key, value)| format!("{}:{} -> {}", key.address, key.port, backends(value.inside)))
            .collect()
    }
}

impl Tables for Memory {
    type Error = Full;

    fn image(&self) -> Result<Image, Full> {
        let mut image = Image { backends: self.backends.clone(), ..self.image.clone() };
        for frontend in self.image.frontends.values() {
            for run in [frontend.inside, frontend.outside] {
                for slot in run.first..run.first + run.count {
                    image.slots.insert(slot, self.slots[&slot]);
                }
            }
        }
        Ok(image)
    }

    fn apply(&mut self, op: &Op) -> Result<(), Full> {
        if let Some(left) = &mut self.fail_after {
            *left = left.checked_sub(1).ok_or(Full)?;
        }
        self.writes += 1;
        match op {
            Op::PutBackend { id, backend } => drop(self.backends.insert(*id, *backend)),
            Op::PutSlots { first, backends } => self.slots.extend((*first..).zip(backends.iter().copied())),
            Op::PutFrontend { key, value } => drop(self.image.frontends.insert(*key, *value)),
            Op::DeleteFrontend { key } => drop(self.image.frontends.remove(key)),
            Op::PutRange { range } => drop(self.image.ranges.insert(*range)),
            Op::DeleteRange { range } => drop(self.image.ranges.remove(range)),
            Op::ForgetAffinity { .. } => {}
        }
        Ok(())
    }

    fn begun(&self) -> Result<StateVersion, Full> {
        Ok(self.version)
    }

    fn begin(&mut self, version: StateVersion) -> Result<(), Full> {
        self.version = version;
        Ok(())
    }
}
