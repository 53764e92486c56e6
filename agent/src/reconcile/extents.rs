//! Free places in a flat array: neighbours are joined, the smallest extent that fits is taken.

use std::collections::{BTreeMap, BTreeSet};

use fairway_datapath::table::Run;

/// Disjoint free extents.
#[derive(Debug, Default)]
pub(super) struct Extents {
    /// Length by first index.
    by_first: BTreeMap<u32, u32>,
    /// Length and first index.
    by_length: BTreeSet<(u32, u32)>,
    total: u64,
}

impl Extents {
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Takes `count` places side by side.
    pub(super) fn take(&mut self, count: u32) -> Option<Run> {
        let (length, first) = *self.by_length.range((count, 0)..).next()?;
        self.remove(first, length);
        if length > count {
            self.insert(first + count, length - count);
        }
        Some(Run { first, count })
    }

    /// Gives places back. They must not be free.
    pub(super) fn give(&mut self, run: Run) {
        let (mut first, mut length) = (run.first, run.count);
        if let Some((&before, &count)) = self.by_first.range(..first).next_back()
            && before + count == first
        {
            self.remove(before, count);
            (first, length) = (before, count + length);
        }
        if let Some(&after) = self.by_first.get(&(first + length)) {
            self.remove(first + length, after);
            length += after;
        }
        self.insert(first, length);
    }

    fn insert(&mut self, first: u32, length: u32) {
        if length > 0 {
            self.by_first.insert(first, length);
            self.by_length.insert((length, first));
            self.total += u64::from(length);
        }
    }

    fn remove(&mut self, first: u32, length: u32) {
        self.by_first.remove(&first);
        self.by_length.remove(&(length, first));
        self.total -= u64::from(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_and_the_smallest_fit_is_taken() {
        let mut extents = Extents::default();
        extents.give(Run { first: 0, count: 10 });
        let runs: Vec<Run> = [4, 2, 4].into_iter().map(|count| extents.take(count).unwrap()).collect();
        assert_eq!(extents.total(), 0);
        assert_eq!(extents.take(1), None);
        extents.give(runs[0]);
        extents.give(runs[1]);
        assert_eq!(extents.take(6), Some(Run { first: 0, count: 6 }));
        extents.give(Run { first: 0, count: 6 });
        extents.give(runs[2]);
        assert_eq!(extents.take(10), Some(Run { first: 0, count: 10 }));
    }
}
