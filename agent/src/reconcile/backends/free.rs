//! Ids that are free: most were never given out, and are known by where they begin.

use std::collections::BTreeSet;
use std::time::Instant;

/// Free ids, those that have rested longest first.
#[derive(Debug)]
pub(super) struct Free {
    /// Those that were given out before, or lie between such, and since when they rest.
    used: BTreeSet<(Option<Instant>, u32)>,
    /// All others: from this one on.
    fresh: u32,
    /// The first that there is not.
    end: u32,
    /// Since when all others rest.
    since: Option<Instant>,
}

impl Free {
    /// All below `end`, but 0 and the `busy` ones. `last`: the highest that is not free or has a past.
    pub(super) fn new(last: u32, end: u32, since: Option<Instant>, busy: impl Fn(u32) -> bool) -> Self {
        let fresh = last.saturating_add(1).min(end);
        let used = (1..fresh).filter(|id| !busy(*id)).map(|id| (since, id)).collect();
        Self { used, fresh, end, since }
    }

    pub(super) fn len(&self) -> usize {
        self.used.len() + self.untouched()
    }

    fn untouched(&self) -> usize {
        (self.end - self.fresh) as usize
    }

    /// How many have rested: at most `most` of those that were given out before are counted.
    pub(super) fn rested(&self, most: usize, rested: impl Fn(Option<Instant>) -> bool) -> usize {
        let used = self.used.iter().take(most).take_while(|(since, _)| rested(*since)).count();
        used + if rested(self.since) { self.untouched() } else { 0 }
    }

    /// It is free from now on.
    pub(super) fn insert(&mut self, since: Option<Instant>, id: u32) {
        self.used.insert((since, id));
    }

    /// It is not free any more.
    pub(super) fn remove(&mut self, since: Option<Instant>, id: u32) {
        self.used.remove(&(since, id));
    }

    /// Takes the one that has rested longest.
    pub(super) fn pop(&mut self) -> Option<(Option<Instant>, u32)> {
        let fresh = (self.fresh < self.end).then_some((self.since, self.fresh));
        match self.used.first() {
            Some(used) if fresh.is_none_or(|fresh| *used < fresh) => self.used.pop_first(),
            _ => {
                self.fresh += u32::from(fresh.is_some());
                fresh
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_in_order_and_those_that_were_given_back_after_all_others() {
        let now = Instant::now();
        let mut free = Free::new(4, 8, None, |id| id == 2 || id == 4);
        assert_eq!((free.len(), free.rested(9, |_| true)), (5, 5));
        free.remove(None, 3);
        free.insert(Some(now), 2);
        assert_eq!(free.rested(9, |since| since.is_none()), 4);
        let all: Vec<u32> = std::iter::from_fn(|| free.pop()).map(|(_, id)| id).collect();
        assert_eq!(all, [1, 5, 6, 7, 2]);
        assert_eq!((free.len(), free.rested(9, |_| true)), (0, 0));
        let mut resting = Free::new(0, 3, Some(now), |_| false);
        assert_eq!((resting.len(), resting.rested(9, |since| since.is_none())), (2, 0));
        assert_eq!(resting.pop(), Some((Some(now), 1)));
    }
}
