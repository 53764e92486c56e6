//! How many streams there may be: in all, and of one node.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
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
    /// What ends the streams of a node, the oldest first.
    of: BTreeMap<Arc<str>, VecDeque<CancellationToken>>,
}

/// One stream's place; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    node: Option<Arc<str>>,
    replaced: CancellationToken,
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
        Ok(Place { places: Arc::clone(self), node: None, replaced: CancellationToken::new() })
    }
}

impl Place {
    /// The stream is a node's. Where it is one too many, the oldest ends: an agent whose link comes and goes leaves
    /// streams that are dead and not seen to be, and must not wait for that. Nothing changes when the node was known.
    pub(super) fn of(&mut self, node: &str) {
        if self.node.is_some() {
            return;
        }
        let node: Arc<str> = Arc::from(node);
        let mut taken = self.places.taken();
        let streams = taken.of.entry(Arc::clone(&node)).or_default();
        streams.push_back(self.replaced.clone());
        if streams.len() > OF_NODE
            && let Some(oldest) = streams.pop_front()
        {
            oldest.cancel();
        }
        drop(taken);
        self.node = Some(node);
    }

    /// Waits until newer streams of the node are as many as it may have.
    pub(super) async fn replaced(&self) -> Status {
        self.replaced.cancelled().await;
        Status::resource_exhausted(format!(
            "node `{}` has opened {OF_NODE} newer streams, which is the limit: do several agents run under this name?",
            self.node.as_deref().unwrap_or_default()
        ))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(node) = &self.node else { return };
        if self.replaced.is_cancelled() {
            return;
        }
        if let Some(streams) = taken.of.get_mut(node) {
            // Clones of a token are the same one, and cancelling is how to tell: a place that is gone ends nothing.
            self.replaced.cancel();
            streams.retain(|stream| !stream.is_cancelled());
            if streams.is_empty() {
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
            place.of(node);
            Ok::<_, Status>(place)
        };
        let mut open: Vec<_> = (0..OF_NODE).map(|_| of("n1").unwrap()).collect();
        open.push(of("n2").unwrap());
        let refused = of("n3").unwrap_err();
        assert!(refused.message().contains("serves 5 agents at most (--max-agents)"), "{refused}");
        open.remove(0);
        open.push(of("n1").unwrap());
        assert!(!open.iter().any(|place| place.replaced.is_cancelled()));
        drop(open);
        let taken = places.taken();
        assert!(taken.all == 0 && taken.of.is_empty());
    }

    #[test]
    fn the_oldest_stream_of_a_node_makes_room() {
        let places = Places::new(100);
        let mut open: Vec<_> = (0..OF_NODE + 2).map(|_| places.take().unwrap()).collect();
        open.iter_mut().for_each(|place| place.of("n1"));
        let replaced: Vec<_> = open.iter().map(|place| place.replaced.is_cancelled()).collect();
        assert_eq!(replaced, [true, true, false, false, false, false]);
        drop(open);
        let taken = places.taken();
        assert!(taken.all == 0 && taken.of.is_empty());
    }
}
