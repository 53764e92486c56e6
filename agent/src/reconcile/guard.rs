//! Source ranges: added before the frontends that they guard are written, removed after.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use fairway_datapath::table::{Frontend, FrontendKey, Op, Range};

use super::services::Services;
use super::shortage::{Lack, Shortages, Table};
use crate::resolve::Desired;

/// The ranges in force.
#[derive(Debug)]
pub(super) struct Ranges {
    capacity: usize,
    known: BTreeSet<Range>,
    /// What the plan that is being made wants.
    wanted: BTreeSet<Range>,
}

impl Ranges {
    pub(super) fn load(known: BTreeSet<Range>, capacity: u32) -> Self {
        Self { capacity: capacity as usize, known, wanted: BTreeSet::new() }
    }

    /// What was written.
    pub(super) fn written(&self) -> &BTreeSet<Range> {
        &self.known
    }

    /// Adds what is missing. A range that does not fit lets nobody in.
    pub(super) fn put(
        &mut self,
        desired: &Desired,
        services: &Services,
        ops: &mut Vec<Op>,
        shortages: &mut Shortages,
    ) {
        self.wanted.clear();
        for (name, ranges) in &desired.ranges {
            let service = services.id(name);
            if service == 0 {
                continue;
            }
            for clients in ranges.iter() {
                let range = Range { service, clients: clients.trunc() };
                self.wanted.insert(range);
                if self.known.contains(&range) {
                    continue;
                }
                if self.known.len() >= self.capacity {
                    shortages.add(Lack { table: Table::Ranges, needed: 1, free: 0, resting: false }, name);
                    continue;
                }
                self.known.insert(range);
                ops.push(Op::PutRange { range });
            }
        }
    }

    /// Removes what is not wanted any more. A guarded frontend that could not be replaced keeps its ranges.
    pub(super) fn delete(&mut self, frontends: &BTreeMap<FrontendKey, Frontend>, ops: &mut Vec<Op>) {
        let gone: Vec<Range> = self.known.difference(&self.wanted).copied().collect();
        if gone.is_empty() {
            return;
        }
        let guarded = frontends.values().filter(|frontend| frontend.flags & Frontend::RANGES != 0);
        let guarded: HashSet<u32> = guarded.map(|frontend| frontend.service).collect();
        let wanted: HashSet<u32> = self.wanted.iter().map(|range| range.service).collect();
        let kept = |range: &Range| guarded.contains(&range.service) && !wanted.contains(&range.service);
        for range in gone.into_iter().filter(|range| !kept(range)) {
            self.known.remove(&range);
            ops.push(Op::DeleteRange { range });
        }
    }
}
