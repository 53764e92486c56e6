//! Tables from which every node picks the same backend for the same client (Maglev, NSDI 2016).
//!
//! Each backend has its own permutation of the table's places, by its address and port; in turns, each takes the first
//! place of its permutation that is free. Shares differ by one place at most, and when a backend goes few places
//! change hands besides its own.

use std::collections::HashMap;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use crate::resolve::BackendRef;

/// Sizes, all prime; the last one is the paper's. A table has at least a hundred places a backend, so that shares differ by
/// one per cent at most (the paper's rule), except the last. The steps are wide, since with another size nearly all places
/// change hands.
const SIZES: [usize; 5] = [251, 1_021, 4_093, 16_381, 65_537];

/// The tables of the plan that is being made: the frontends of a Service port share theirs.
#[derive(Debug, Default)]
pub(super) struct Maglev {
    made: HashMap<Arc<[BackendRef]>, Arc<[BackendRef]>>,
}

impl Maglev {
    /// The table of a set: its backends, each as often as it has places. Of an empty set an empty one.
    pub(super) fn table(&mut self, set: &Arc<[BackendRef]>) -> Arc<[BackendRef]> {
        self.made
            .entry(set.clone())
            .or_insert_with(|| fill(set).into_iter().map(|owner| set[owner]).collect())
            .clone()
    }

    pub(super) fn clear(&mut self) {
        self.made.clear();
    }
}

fn size(backends: usize) -> usize {
    SIZES.into_iter().find(|size| *size >= backends * 100).unwrap_or(SIZES[SIZES.len() - 1])
}

/// A hash that every version of every node makes alike: FNV-1a, then spread over all bits.
#[derive(Default)]
struct Stable(u64);

impl Hasher for Stable {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ mixed >> 33
    }
}

fn hash(backend: &BackendRef, seed: u8) -> u64 {
    let mut hash = Stable(0xcbf2_9ce4_8422_2325);
    hash.write(&[seed]);
    match backend.address {
        IpAddr::V4(address) => hash.write(&address.octets()),
        IpAddr::V6(address) => hash.write(&address.octets()),
    }
    hash.write(&backend.port.to_be_bytes());
    hash.finish()
}

/// The owner of each place, as an index into the set.
fn fill(set: &[BackendRef]) -> Vec<usize> {
    if set.is_empty() {
        return Vec::new();
    }
    fill_places(set, size(set.len()).max(set.len()))
}

/// The same of a table of this size, which is prime, or as large as the set.
fn fill_places(set: &[BackendRef], size: usize) -> Vec<usize> {
    let within = |hash: u64, places: usize| usize::try_from(hash % places as u64).unwrap_or(0);
    // The next place of each backend's permutation, and its step.
    let mut walks: Vec<(usize, usize)> = set
        .iter()
        .map(|backend| (within(hash(backend, 0), size), within(hash(backend, 1), size - 1) + 1))
        .collect();
    let mut owners: Vec<Option<usize>> = vec![None; size];
    let mut free = size;
    for owner in (0..set.len()).cycle() {
        if free == 0 {
            break;
        }
        let (place, step) = &mut walks[owner];
        while owners[*place].is_some() {
            *place = (*place + *step) % size;
        }
        owners[*place] = Some(owner);
        free -= 1;
    }
    owners.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(numbers: impl IntoIterator<Item = u16>) -> Arc<[BackendRef]> {
        let backend = |number: u16| BackendRef {
            address: [10, 0, (number >> 8) as u8, number as u8].into(),
            port: 8080,
            flags: 0,
        };
        numbers.into_iter().map(backend).collect()
    }

    fn shares(table: &[BackendRef], set: &[BackendRef]) -> Vec<usize> {
        set.iter().map(|backend| table.iter().filter(|place| *place == backend).count()).collect()
    }

    #[test]
    fn a_table_is_as_large_as_a_hundred_places_a_backend() {
        let sizes = [1, 2, 3, 10, 11, 40, 163, 164, 655, 5_000].map(size);
        assert_eq!(sizes, [251, 251, 1_021, 1_021, 4_093, 4_093, 16_381, 65_537, 65_537, 65_537]);
        assert!(Maglev::default().table(&set([])).is_empty());
    }

    /// The share of the places that change hands in the largest table when one of `count` backends goes, beyond the leaver's
    /// own; the mean over `leavers` of them.
    fn moved_besides(count: u16, leavers: u16) -> f64 {
        let before = fill_places(&set(0..count), 65_537);
        let places = before.len() as f64;
        let moved = (0..leavers).map(|number| number * (count / leavers)).map(|leaver| {
            let after = fill_places(&set((0..count).filter(|number| *number != leaver)), 65_537);
            let gone = usize::from(leaver);
            // Behind the leaver everybody has moved up by one.
            let same = |one: usize, two: usize| one == if two >= gone { two + 1 } else { two };
            let others = before.iter().zip(&after).filter(|(one, two)| **one != gone && !same(**one, **two));
            others.count() as f64 / places
        });
        moved.sum::<f64>() / f64::from(leavers)
    }

    // What the paper measures in its section 5.3, for one backend that goes.
    #[test]
    fn the_largest_table_moves_few_places_besides_those_of_the_backend_that_goes() {
        for (count, leavers, limit) in [(3, 3, 0.02), (10, 10, 0.02), (100, 10, 0.02), (655, 5, 0.04)] {
            let besides = moved_besides(count, leavers);
            let own = 1.0 / f64::from(count);
            println!(
                "{count} backends, one goes: {:.3} % of places are its own, {:.3} % more move",
                own * 100.0,
                besides * 100.0
            );
            assert!(besides < limit, "{besides}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn shares_are_equal_and_few_clients_move_when_a_backend_goes(
            numbers in prop::collection::btree_set(any::<u16>(), 2..60), gone in any::<prop::sample::Index>()
        ) {
            let mut tables = Maglev::default();
            let all = set(numbers.iter().copied());
            let before = tables.table(&all);
            let counts = shares(&before, &all);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);

            let leaver = all[gone.index(all.len())];
            let rest: Arc<[BackendRef]> = all.iter().filter(|backend| **backend != leaver).copied().collect();
            let after = tables.table(&rest);
            prop_assert!(!after.contains(&leaver));
            if before.len() == after.len() {
                let moved = before.iter().zip(after.iter()).filter(|(one, two)| one != two).count();
                // The leaver's own share, and as much again at worst, nearly.
                prop_assert!(moved * all.len() * 2 <= 5 * before.len(), "{moved} of {}", before.len());
            }
        }

        #[test]
        fn every_node_makes_the_same_table(numbers in prop::collection::btree_set(any::<u16>(), 1..20)) {
            let set = set(numbers);
            prop_assert_eq!(Maglev::default().table(&set), Maglev::default().table(&set));
        }
    }
}
