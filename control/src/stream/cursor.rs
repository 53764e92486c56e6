//! One subscriber's place in the stream.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use fairway_proto::control::Version;

use super::store::{Batch, Store};

/// A response is closed when it has this many bytes: all agents may be sent everything at the same time, and each one's
/// response waits in memory until it is read.
const FULL: usize = 64 * 1024;

/// One response: a part of a batch, whose bytes are shared with all subscribers.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) version: Version,
    pub(crate) snapshot: bool,
    pub(crate) complete: bool,
    items: Arc<[Bytes]>,
    range: Range<usize>,
}

impl Frame {
    /// The encoded fields.
    pub(crate) fn items(&self) -> &[Bytes] {
        &self.items[self.range.clone()]
    }
}

/// What was sent, and what is being sent. It holds names and bytes of the newest state alone, never a history.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// What the subscriber says that it serves.
    known: Option<Version>,
    /// The number that the subscriber has when all frames given out have arrived.
    sent: Option<u64>,
    answered: bool,
    sending: Option<(Batch, usize)>,
}

impl Cursor {
    /// A subscriber who serves `known`, a version of this control plane or of another one.
    pub(crate) fn new(known: Option<Version>) -> Self {
        Self { known, sent: None, answered: false, sending: None }
    }

    /// The next response; `None`: everything is sent. The first one comes even if it carries no change: it tells the
    /// subscriber that it is up to date.
    pub(crate) fn next(&mut self, store: &Store) -> Option<Frame> {
        if self.sending.is_none() {
            // Only now, since there may have been nothing yet when the subscriber came.
            if let Some(known) = self.known.take() {
                self.sent = store.number(known);
            }
            let batch = store.since(self.sent);
            if self.answered && self.sent == Some(batch.version.number) {
                return None;
            }
            self.sending = Some((batch, 0));
        }
        let (batch, start) = self.sending.as_mut()?;
        let first = *start == 0;
        let mut end = *start;
        let mut size = 0;
        while end < batch.items.len() && (end == *start || size + batch.items[end].len() <= FULL) {
            size += batch.items[end].len();
            end += 1;
        }
        let complete = end == batch.items.len();
        let frame = Frame {
            version: batch.version,
            snapshot: batch.snapshot && first,
            complete,
            items: Arc::clone(&batch.items),
            range: *start..end,
        };
        *start = end;
        if complete {
            self.sent = Some(batch.version.number);
            self.sending = None;
            self.answered = true;
        }
        Some(frame)
    }
}
