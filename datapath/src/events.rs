//! The event ring, read.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use fairway_common::event::Event;

/// The event ring. Its file descriptor is readable when an event is there.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    pub(crate) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// The next event, if there is one.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.next()?;
            if item.len() == size_of::<Event>() {
                #[expect(unsafe_code, reason = "an event is plain integers; the record may not be aligned")]
                // SAFETY: the length was checked, and every bit pattern is an event.
                return Some(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
            }
        }
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
