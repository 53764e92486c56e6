//! Which connections are over: silent for longer than their state allows, or datagrams for a backend that is gone.

use std::time::Duration;

use fairway_common::conntrack::{Entry, Tuple};
use fairway_common::{Family, UDP};

use super::pairs::{Keyed, Pair, pairs};
use super::{Timeouts, ticks};

/// How long a reply without its original still translates what is under way.
const ORPHAN: Duration = Duration::from_secs(120);

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It was silent for too long.
    Silent,
    /// A UDP flow whose backend is gone, or has become another's (S54, S58).
    Stale,
}

/// A connection that is over, as it was when it was looked at: one that was seen since is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over<A: Family> {
    pub(super) original: Option<(Tuple<A>, Entry<A>)>,
    pub(super) reply: Option<(Tuple<A>, Entry<A>)>,
    pub(super) why: Why,
}

/// What is over. `pressed`: the table is nearly full. `gone` says of an entry whether its backend is no longer there for
/// it; it is asked for UDP only, since a TCP connection keeps its backend (S41, S59).
pub(super) fn over<A: Family>(
    entries: &[Keyed<A>],
    now: u32,
    timeouts: &Timeouts,
    pressed: bool,
    mut gone: impl FnMut(&Entry<A>) -> bool,
) -> Vec<Over<A>> {
    let (pairs, orphans) = pairs(entries);
    let mut why = |pair: &Pair<'_, A>| {
        let (state, protocol) = (pair.state(), pair.key.protocol);
        let kept = if pressed { timeouts.pressed(state, protocol) } else { timeouts.of(state, protocol) };
        if pair.idle(now) > kept {
            Some(Why::Silent)
        } else if protocol == UDP && gone(pair.original) {
            Some(Why::Stale)
        } else {
            None
        }
    };
    let mut found: Vec<Over<A>> = Vec::new();
    for pair in &pairs {
        if let Some(why) = why(pair) {
            let reply = pair.reply.map(|reply| (pair.original.to.reversed(), *reply));
            found.push(Over { original: Some((*pair.key, *pair.original)), reply, why });
        }
    }
    let silent = |entry: &Entry<A>| ticks(now.saturating_sub(entry.last_seen)) > ORPHAN;
    found.extend(orphans.into_iter().filter(|(_, entry)| silent(entry)).map(|orphan| Over {
        original: None,
        reply: Some(*orphan),
        why: Why::Silent,
    }));
    found
}

#[cfg(test)]
mod tests;
