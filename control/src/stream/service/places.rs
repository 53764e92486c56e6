//! How many streams there may be: in all, and of one node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::Status;

/// Streams of one node: an agent has one, and old ones may not be noticed to be dead yet.
const OF_NODE: usize = 4;

/// The streams that are open.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: BTreeMap<Arc<str>, usize>,
}

/// One stream's place; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    node: Option<Arc<str>>,
}

impl Places {
    /// For so many streams in all.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a stream whose node may not be known yet.
    ///
    /// # Errors
    /// `resource_exhausted` if all are taken.
    pub(super) fn take(self: &Arc<Self>) -> Result<Place, Status> {
        let mut taken = self.taken();
        if taken.all >= self.most {
            return Err(Status::resource_exhausted(format!(
                "this control plane serves {} agents at most (--max-agents), and has them: raise the limit, or \
                 connect to another one",
                self.most
            )));
        }
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), node: None })
    }
}

impl Place {
    /// The stream is a node's. Nothing changes when that was known.
    ///
    /// # Errors
    /// `resource_exhausted` if the node has all that it may have.
    pub(super) fn of(&mut self, node: &str) -> Result<(), Status> {
        if self.node.is_some() {
            return Ok(());
        }
        let mut taken = self.places.taken();
        let node: Arc<str> = Arc::from(node);
        let count = taken.of.entry(Arc::clone(&node)).or_default();
        if *count >= OF_NODE {
            return Err(Status::resource_exhausted(format!(
                "node `{node}` has {OF_NODE} streams already, which is the limit: do several agents run under this name?"
            )));
        }
        *count += 1;
        drop(taken);
        self.node = Some(node);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(node) = &self.node else { return };
        if let Some(count) = taken.of.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                taken.of.remove(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_left_is_free_again() {
        let places = Places::new(OF_NODE + 1);
        let of = |node: &str| {
            let mut place = places.take()?;
            place.of(node).map(|()| place)
        };
        let mut open: Vec<_> = (0..OF_NODE).map(|_| of("n1").unwrap()).collect();
        let refused = of("n1").unwrap_err();
        assert!(refused.message().starts_with("node `n1` has 4 streams already"), "{refused}");
        open.push(of("n2").unwrap());
        let refused = of("n3").unwrap_err();
        assert!(refused.message().contains("serves 5 agents at most (--max-agents)"), "{refused}");
        open.remove(0);
        open.push(of("n1").unwrap());
        drop(open);
        let taken = places.taken();
        assert!(taken.all == 0 && taken.of.is_empty());
    }
}
