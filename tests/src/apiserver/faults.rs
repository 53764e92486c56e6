//! What goes wrong at the trial's command.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use super::answer::Refusal;
use super::kind::Kind;
use super::lock;

/// The faults of one server.
#[derive(Debug)]
pub(super) struct Faults {
    wrong: Mutex<Wrong>,
    held: watch::Sender<BTreeSet<Kind>>,
}

#[derive(Debug, Default)]
struct Wrong {
    /// How many requests more, with which status, and when to come back.
    failing: Option<(usize, u16, Option<Duration>)>,
    delay: Duration,
    forbidden: BTreeSet<Kind>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { wrong: Mutex::default(), held: watch::Sender::new(BTreeSet::new()) }
    }
}

impl Faults {
    pub(super) fn hold(&self, kinds: impl IntoIterator<Item = Kind>) {
        self.held.send_modify(|held| held.extend(kinds));
    }

    pub(super) fn release(&self) {
        self.held.send_modify(BTreeSet::clear);
    }

    /// Waits until requests for this kind (none: whatever is no kind) are answered.
    pub(super) async fn released(&self, kind: Option<Kind>) {
        let mut held = self.held.subscribe();
        let hangs = |held: &BTreeSet<Kind>| match kind {
            Some(kind) => held.contains(&kind),
            None => held.len() == Kind::ALL.len(),
        };
        // The sender is a field of this.
        let _ = held.wait_for(|held| !hangs(held)).await;
    }

    pub(super) fn fail(&self, count: usize, status: u16, retry_after: Option<Duration>) {
        lock(&self.wrong).failing = (count > 0).then_some((count, status, retry_after));
    }

    /// What the next request is refused with, if it is to be.
    pub(super) fn failure(&self) -> Option<Refusal> {
        let mut wrong = lock(&self.wrong);
        let (count, status, retry_after) = wrong.failing?;
        wrong.failing = (count > 1).then_some((count - 1, status, retry_after));
        Some(Refusal::of_status(status, retry_after))
    }

    pub(super) fn delay(&self, by: Duration) {
        lock(&self.wrong).delay = by;
    }

    pub(super) fn delayed_by(&self) -> Duration {
        lock(&self.wrong).delay
    }

    pub(super) fn forbid(&self, kind: Kind, forbidden: bool) {
        let mut wrong = lock(&self.wrong);
        if forbidden {
            wrong.forbidden.insert(kind);
        } else {
            wrong.forbidden.remove(&kind);
        }
    }

    pub(super) fn is_forbidden(&self, kind: Kind) -> bool {
        lock(&self.wrong).forbidden.contains(&kind)
    }
}
