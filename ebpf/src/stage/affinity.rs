//! The backend that a client keeps: session affinity, and datagrams of one socket.

use fairway_common::affinity::{Choice, Key, kind};
use fairway_common::service::backend_flags as flags;

use crate::ip::Ip;
use crate::maps::AFFINITY;
use crate::stage::clock::now;

/// The backend that the client had last, as long as it may be used; else `drawn`. Either one is kept from now on for
/// `seconds` (S64).
///
/// A function of its own: few Services have affinity, and its stack is its own.
#[inline(never)]
pub fn keep<A: Ip>(key: &Key, drawn: u32, seconds: u32, local: bool) -> u32 {
    let now = now();
    // A Service that is asked for affinity sends a socket's datagrams elsewhere only when the backend is gone (S57).
    let bad = if key.kind & 0xff == kind::SOCKET { flags::GONE } else { flags::GONE | flags::DRAINING };
    let wanted = if local { flags::LOCAL } else { 0 };
    if let Some(choice) = AFFINITY.get_ptr_mut(key) {
        // SAFETY: a live entry of the map; a race with another CPU loses one connection's mark.
        let choice = unsafe { &mut *choice };
        let fresh = (now.wrapping_sub(choice.since) as u64) << 30 <= seconds as u64 * 1_000_000_000;
        let usable = A::backends().get(choice.backend).is_some_and(|backend| {
            backend.service == key.service && backend.flags & (bad | wanted) == wanted
        });
        if fresh && usable {
            if choice.since != now {
                choice.since = now;
            }
            return choice.backend;
        }
    }
    let _ = AFFINITY.insert(key, &Choice { backend: drawn, since: now }, 0);
    drawn
}
