//! One call at a time for each attachment; those of different pods run side by side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// A container's id, and the name of the device inside it.
type Attachment = (String, String);

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<HashMap<Attachment, Arc<Turn<()>>>>,
}

impl Turns {
    /// Waits until no other call is about this container's device; it ends when the answer is dropped.
    pub(super) async fn take(&self, container_id: &str, interface: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody holds or waits for those that only the map knows.
            taken.retain(|_, turn| Arc::strong_count(turn) > 1);
            taken.entry((container_id.to_owned(), interface.to_owned())).or_default().clone()
        };
        turn.lock_owned().await
    }
}
