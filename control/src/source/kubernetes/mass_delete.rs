//! Whether so many Services may go away at once: a source that was emptied by accident takes nobody's connections.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::problem::Cause;

/// What goes away within this time goes away at once.
const WINDOW: Duration = Duration::from_secs(60);
/// When it is looked at again.
const SECOND_LOOK: Duration = Duration::from_secs(30);
/// So few Services may all go away.
const FEW: usize = 10;

/// What is to be done with the newest declarations.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// They count.
    Publish,
    /// Those before stay in force.
    Hold(Cause),
}

/// How many Services there were in the last minute.
#[derive(Debug)]
pub(super) struct MassDelete {
    allowed: bool,
    counts: VecDeque<(Instant, usize)>,
    /// Since when more than half are missing, and whether they were asked for again.
    held: Option<(Instant, bool)>,
}

impl MassDelete {
    /// `allowed`: all may go away at any time.
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed, counts: VecDeque::new(), held: None }
    }

    /// When the Services have to be listed once more; none: not.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.held.filter(|(_, looked)| !looked).map(|(since, _)| since + SECOND_LOOK)
    }

    /// They are being listed once more.
    pub(super) fn looks(&mut self) {
        self.held = self.held.map(|(since, _)| (since, true));
    }

    /// There are so many Services; `listed`: they were listed since [`MassDelete::looks`].
    pub(super) fn judge(&mut self, services: usize, listed: bool, now: Instant) -> Verdict {
        // The newest that counts is compared with, however long ago that was.
        while self.counts.len() > 1 && self.counts.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.counts.pop_front();
        }
        let before = self.counts.iter().map(|(_, count)| *count).max().unwrap_or_default();
        let many = before >= FEW && services * 2 < before;
        let looked = listed && self.held.is_some_and(|(_, looked)| looked);
        if self.allowed || !many || looked {
            self.held = None;
            if looked {
                // What is gone for good is not compared with again.
                self.counts.clear();
            }
            if self.counts.back().is_none_or(|(_, count)| *count != services) {
                self.counts.push_back((now, services));
            }
            return Verdict::Publish;
        }
        self.held.get_or_insert((now, false));
        Verdict::Hold(Cause::MassDelete { before, now: services, seconds: SECOND_LOOK.as_secs() })
    }
}
