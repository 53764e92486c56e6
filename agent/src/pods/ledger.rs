//! The list of pods in memory, on disk, and as it is shown: the only place where the three meet.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fairway_proto::control::PodStatus;
use tokio::sync::watch;

use super::state::State;
use super::store::Store;
use super::{Error, PodEntry, host_ports};
use crate::resolve::HostPorts;

/// The state is locked for a look or a change of it, never while anything is waited for.
pub(super) struct Ledger {
    state: Mutex<State>,
    store: Store,
    pub(super) entries: watch::Sender<Vec<PodEntry>>,
    pub(super) statuses: watch::Sender<Vec<PodStatus>>,
    pub(super) host_ports: watch::Sender<HostPorts>,
}

impl Ledger {
    /// Reads what is kept in `directory`.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let (store, state) = Store::open(directory)?;
        Ok(Self::of(store, state))
    }

    fn of(store: Store, state: State) -> Self {
        Self {
            state: Mutex::new(state),
            store,
            entries: watch::Sender::default(),
            statuses: watch::Sender::default(),
            host_ports: watch::Sender::default(),
        }
    }

    /// Looks at the state.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.locked())
    }

    /// Changes the state, and returns when the change is on disk and shown. After an error it is in memory only,
    /// and goes to disk with the next change that does.
    pub(super) async fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
        let (result, written) = {
            let mut state = self.locked();
            let result = change(&mut state);
            // Under the lock, so that changes come to the disk in the order in which they were made.
            (result, self.store.write(state.take_changes()))
        };
        written.await?;
        self.show();
        Ok(result)
    }

    /// Returns when all that was changed is on disk and shown, also what an earlier change could not write.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        self.change(|_| ()).await
    }

    /// Shows the state to all who watch.
    fn show(&self) {
        let state = self.locked();
        self.entries.send_replace(state.entries());
        self.host_ports.send_if_modified(|shown| host_ports::refresh(shown, &state));
        let statuses = state.statuses();
        self.statuses.send_if_modified(|shown| {
            let changed = *shown != statuses;
            *shown = statuses;
            changed
        });
    }

    /// No closure leaves the state half-changed: a panic in one is no reason to stop.
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use redb::Database;

    use super::super::state::tests::record;
    use super::super::store::peek;
    use super::*;

    #[tokio::test]
    async fn what_could_not_be_written_is_on_disk_and_shown_when_the_ledger_settles() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pods.redb");
        let mut state = Store::open(directory.path()).unwrap().1;
        let gone = record("a", "a", "10.0.1.2");
        state.put(gone.clone());
        let ledger = Ledger::of(Store::start(path.clone(), None).unwrap(), state);
        ledger.settle().await.unwrap();
        assert_eq!(ledger.entries.borrow().len(), 1);
        drop(ledger);

        let state = peek(directory.path()).unwrap();
        let ledger = Ledger::of(Store::start(path.clone(), None).unwrap(), state);
        // It cannot be opened while it is open for someone else.
        let elsewhere = Database::open(&path).unwrap();
        ledger.change(|state| state.remove(&gone)).await.unwrap_err();
        ledger.settle().await.unwrap_err();
        drop(elsewhere);
        ledger.settle().await.unwrap();
        assert!(ledger.entries.borrow().is_empty());
        drop(ledger);
        assert!(peek(directory.path()).unwrap().pods().is_empty());
    }
}
