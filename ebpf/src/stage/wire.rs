//! Connections whose packets leave by the device that they came by.

use fairway_common::UDP;
use fairway_common::conntrack::{Entry, hop, observe};

use crate::frame::{self, Frame, Plain};
use crate::stage::conntrack;

/// The entry of a packet of a known connection, if its way is known, leads back out of the device, and the packet says
/// nothing that is not in the entry yet.
#[inline(always)]
pub fn find<A: Plain>(frame: &Frame<A>) -> Option<&'static Entry<A>> {
    // A SYN may start a new connection: a rule of the programs behind.
    if frame.is_syn() || !conntrack::may_lead(&frame.tuple) {
        return None;
    }
    let entry = A::conntrack().get_ptr_mut(&frame.tuple)?;
    // SAFETY: a live entry of the map.
    let entry = unsafe { &*entry };
    let seen = observe(frame.tuple.protocol, frame.tcp_flags);
    let way = &entry.hop;
    if way.kind != hop::OUT || way.ifindex != frame::ifindex(frame.ctx) || frame.length > way.mtu {
        return None;
    }
    if entry.flags & seen != seen || entry.last_seen != conntrack::now() {
        return None;
    }
    if frame.tuple.protocol == UDP && conntrack::moved(entry) {
        return None;
    }
    // The device's own address is the one that the packet will leave with.
    if !frame.is_for(way.source) || frame.is_unfinished() { None } else { Some(entry) }
}
