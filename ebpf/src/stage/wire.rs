//! Connections whose packets leave by the device that they came by.

use aya_ebpf::bindings::BPF_FIB_LKUP_RET_SUCCESS;
use fairway_common::UDP;
use fairway_common::conntrack::{Entry, hop, observe};

use crate::frame::{self, Frame, Plain, Transport};
use crate::settings;
use crate::stage::{conntrack, deliver};

/// The entry of a packet of a known connection, if its way leads back out of the device, and the packet says nothing that is
/// not in the entry yet.
#[inline(always)]
pub fn find<A: Plain>(frame: &Frame<A>, transport: Transport) -> Option<&'static Entry<A>> {
    // A SYN may start a new connection: a rule of the programs behind.
    if transport.is_syn() {
        return None;
    }
    let entry = A::conntrack().get_ptr_mut(&frame.tuple)?;
    // SAFETY: a live entry of the map; races with other CPUs lose a mark at most.
    let entry = unsafe { &mut *entry };
    let seen = observe(frame.tuple.protocol, transport.tcp_flags);
    if entry.flags & seen != seen || frame.is_unfinished(transport) {
        return None;
    }
    if frame.tuple.protocol == UDP && conntrack::moved(entry) {
        return None;
    }
    let now = conntrack::now();
    if (entry.last_seen != now || entry.hop.kind == hop::NONE) && !learn(frame, entry, now) {
        return None;
    }
    let way = &entry.hop;
    let back = way.kind == hop::OUT && way.ifindex == frame::ifindex(frame.ctx) && frame.length <= way.mtu;
    // The device's own address is the one that the packet will leave with.
    if back && frame.is_for(way.link.source()) { Some(entry) } else { None }
}

/// The first packet of a tick: looks up the way of a direction, and notes it if it leads back out of the device. If not, nothing
/// was seen: the programs behind look up, and note, for themselves.
///
/// A function of its own: its look-up takes 64 bytes of stack.
#[inline(never)]
fn learn<A: Plain>(frame: &Frame<A>, entry: &mut Entry<A>, now: u32) -> bool {
    // What is in tunnels has other ways than the kernel's routes.
    if settings::tunnel() != 0 {
        return false;
    }
    let (mut fib, device) = (deliver::NOWHERE, frame::ifindex(frame.ctx));
    let result = deliver::look_up(frame.ctx.cast(), device, &entry.to, frame.length, &mut fib);
    if result != BPF_FIB_LKUP_RET_SUCCESS as i64 || fib.ifindex != device || !frame.is_for(fib.smac) {
        return false;
    }
    entry.hop = deliver::way(&fib);
    entry.last_seen = now;
    true
}
