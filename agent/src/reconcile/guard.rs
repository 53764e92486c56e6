//! Source ranges: added before the frontends that they guard are written, removed after.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;

use fairway_datapath::table::{Frontend, FrontendKey, Op, Range};
use ipnet::{IpNet, Ipv4Net};

use super::services::Services;
use super::shortage::{Lack, Shortages, Table};
use crate::resolve::{Desired, ServicePortName};

/// Sorts before all others.
const FIRST: IpNet = IpNet::V4(match Ipv4Net::new(Ipv4Addr::UNSPECIFIED, 0) {
    Ok(net) => net,
    Err(_) => panic!("a prefix of length 0"),
});

/// The ranges in force.
#[derive(Debug)]
pub(super) struct Ranges {
    capacity: usize,
    known: BTreeSet<Range>,
    /// Ids of Service ports that may have ranges which are not wanted any more.
    suspects: BTreeSet<u32>,
}

impl Ranges {
    pub(super) fn load(known: BTreeSet<Range>, capacity: u32) -> Self {
        let suspects = known.iter().map(|range| range.service).collect();
        Self { capacity: capacity as usize, known, suspects }
    }

    /// What was written.
    pub(super) fn written(&self) -> &BTreeSet<Range> {
        &self.known
    }

    /// Adds what is missing of the Service ports in `touched`. A range that does not fit lets nobody in; returned is
    /// whose do not fit.
    pub(super) fn put(
        &mut self,
        desired: &Desired,
        touched: &BTreeSet<ServicePortName>,
        services: &Services,
        ops: &mut Vec<Op>,
        shortages: &mut Shortages,
    ) -> BTreeSet<ServicePortName> {
        let mut waiting = BTreeSet::new();
        for name in touched {
            let service = services.id(name);
            if service == 0 {
                continue;
            }
            self.suspects.insert(service);
            for range in wanted(desired, name, service) {
                if self.known.contains(&range) {
                    continue;
                }
                if self.known.len() >= self.capacity {
                    shortages.add(Lack { table: Table::Ranges, needed: 1, free: 0, resting: false }, name);
                    waiting.insert(name.clone());
                    continue;
                }
                self.known.insert(range);
                ops.push(Op::PutRange { range });
            }
        }
        waiting
    }

    /// Removes what is not wanted any more. A guarded frontend that could not be replaced keeps its ranges.
    pub(super) fn delete(
        &mut self,
        desired: &Desired,
        services: &Services,
        frontends: &BTreeMap<FrontendKey, Frontend>,
        ops: &mut Vec<Op>,
    ) {
        if self.known.is_empty() {
            return self.suspects.clear();
        }
        let mut guarded: Option<HashSet<u32>> = None;
        for service in std::mem::take(&mut self.suspects) {
            let name = services.name(service);
            let wanted: BTreeSet<Range> =
                name.into_iter().flat_map(|name| wanted(desired, name, service)).collect();
            let gone: Vec<Range> = self.of(service).filter(|range| !wanted.contains(range)).collect();
            if gone.is_empty() {
                continue;
            }
            let guarded = guarded.get_or_insert_with(|| {
                let guarded = frontends.values().filter(|frontend| frontend.flags & Frontend::RANGES != 0);
                guarded.map(|frontend| frontend.service).collect()
            });
            if wanted.is_empty() && guarded.contains(&service) {
                self.suspects.insert(service);
                continue;
            }
            for range in gone {
                self.known.remove(&range);
                ops.push(Op::DeleteRange { range });
            }
        }
    }

    /// The ranges of a Service port that were written.
    fn of(&self, service: u32) -> impl Iterator<Item = Range> {
        let first = Range { service, clients: FIRST };
        self.known.range(first..).copied().take_while(move |range| range.service == service)
    }
}

/// The ranges that a Service port should have.
fn wanted<'a>(
    desired: &'a Desired,
    name: &ServicePortName,
    service: u32,
) -> impl Iterator<Item = Range> + use<'a> {
    let all = desired.ranges.get(name).into_iter().flat_map(|all| all.iter());
    all.map(move |clients| Range { service, clients: clients.trunc() })
}
