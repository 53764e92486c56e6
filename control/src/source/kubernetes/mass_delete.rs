//! Whether so much may go away at once: a source that was emptied by accident takes nobody's connections.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::declaration::Declarations;
use crate::source::problem::Cause;

/// What goes away within this time goes away at once.
const WINDOW: Duration = Duration::from_secs(60);
/// What went away so long before it was seen how much it is comes back: objects are deleted one by one.
const LOOK_BACK: Duration = Duration::from_secs(10);
/// When it is looked at again.
const SECOND_LOOK: Duration = Duration::from_secs(30);
/// So few objects of a kind may all go away.
const FEW: usize = 10;
/// States are remembered at most so often.
const REMEMBER: Duration = Duration::from_secs(1);

/// More than half of a kind is gone, and kept.
#[derive(Debug, PartialEq)]
pub(super) struct Loss {
    pub(super) kind: &'static str,
    pub(super) cause: Cause,
}

/// What there was in the last minute.
#[derive(Debug)]
pub(super) struct MassDelete {
    allowed: bool,
    /// States, and since when they counted: each until the next.
    seen: VecDeque<(Instant, Declarations)>,
    /// The newest state that counts.
    newest: Declarations,
    /// Since when what is gone is kept, and whether it was asked for again.
    held: Option<(Instant, bool)>,
}

impl MassDelete {
    /// `allowed`: all may go away at any time.
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed, seen: VecDeque::new(), newest: Declarations::default(), held: None }
    }

    /// When everything has to be listed once more; none: not.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.held.filter(|(_, looked)| !looked).map(|(since, _)| since + SECOND_LOOK)
    }

    /// It is being listed once more.
    pub(super) fn looks(&mut self) {
        self.held = self.held.map(|(since, _)| (since, true));
    }

    /// What counts of the newest declarations: these, or with them what is gone. `listed`: all were listed since
    /// [`MassDelete::looks`].
    pub(super) fn judge(
        &mut self,
        new: Declarations,
        listed: bool,
        now: Instant,
    ) -> (Declarations, Option<Loss>) {
        self.forget(now);
        let looked = listed && self.held.is_some_and(|(_, looked)| looked);
        let loss = if self.allowed || looked { None } else { self.loss(&new) };
        let counts = match loss {
            None => {
                if looked {
                    // What is gone for good is not compared with again.
                    self.seen.clear();
                }
                self.held = None;
                self.remember(&new, now);
                new
            }
            Some(_) => {
                let kept = new.keeping(&self.newest);
                match self.before(now).filter(|_| self.held.is_none()) {
                    Some(before) => kept.keeping(before),
                    None => kept,
                }
            }
        };
        if loss.is_some() {
            self.held.get_or_insert((now, false));
        }
        self.newest = counts.clone();
        (counts, loss)
    }

    fn loss(&self, new: &Declarations) -> Option<Loss> {
        let seen = || self.seen.iter().map(|(_, state)| state).chain([&self.newest]);
        sizes(new).into_iter().enumerate().find_map(|(index, (kind, now))| {
            let before = seen().map(|state| sizes(state)[index].1).max().unwrap_or_default();
            let seconds = SECOND_LOOK.as_secs();
            let cause = Cause::MassDelete { before, now, seconds };
            (before >= FEW && now * 2 < before).then_some(Loss { kind, cause })
        })
    }

    /// The first state that still counted a moment ago.
    fn before(&self, now: Instant) -> Option<&Declarations> {
        let ends = self.seen.iter().skip(1).map(|(from, _)| *from).chain([now]);
        let mut lasting = self.seen.iter().zip(ends);
        lasting.find(|(_, end)| *end + LOOK_BACK >= now).map(|((_, state), _)| state)
    }

    fn remember(&mut self, state: &Declarations, now: Instant) {
        if self.seen.back().is_none_or(|(from, _)| *from + REMEMBER <= now) {
            self.seen.push_back((now, state.clone()));
        }
    }

    /// Forgets what counted for the last time long ago.
    fn forget(&mut self, now: Instant) {
        while self.seen.get(1).is_some_and(|(from, _)| *from + WINDOW < now) {
            self.seen.pop_front();
        }
    }
}

fn sizes(state: &Declarations) -> [(&'static str, usize); 3] {
    [("Services", state.services.len()), ("EndpointSlices", state.slices.len()), ("Nodes", state.nodes.len())]
}
