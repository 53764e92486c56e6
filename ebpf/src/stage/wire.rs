//! Connections whose packets leave by the device that they came by.

use aya_ebpf::bindings::BPF_FIB_LKUP_RET_SUCCESS;
use fairway_common::UDP;
use fairway_common::conntrack::{Entry, flags, hop, observe};
use fairway_common::service::Frontend;

use crate::frame::{self, Frame, Plain, Transport};
use crate::maps::WAYS;
use crate::settings;
use crate::stage::service::{self, Side};
use crate::stage::{clock, conntrack, deliver, direct};

/// What becomes of a packet whose way leads back out of the device, and that says nothing which is not in the tables yet.
#[inline(always)]
pub fn find<A: Plain>(frame: &Frame<A>, transport: Transport) -> Option<&'static Entry<A>> {
    let entry = if transport.is_syn() { begins(frame)? } else { known(frame, transport)? };
    if frame.is_unfinished(transport, entry) {
        return None;
    }
    let now = clock::now();
    if (entry.last_seen != now || entry.hop.kind == hop::NONE) && !learn(frame, entry, now) {
        return None;
    }
    let way = &entry.hop;
    let back = way.kind == hop::OUT && way.ifindex == frame::ifindex(frame.ctx) && frame.length <= way.mtu;
    // The device's own address is the one that the packet will leave with.
    if back && frame.is_for(way.link.source()) { Some(entry) } else { None }
}

/// The entry of a packet of a known connection.
#[inline(always)]
fn known<A: Plain>(frame: &Frame<A>, transport: Transport) -> Option<&'static mut Entry<A>> {
    let entry = A::conntrack().get_ptr_mut(&frame.tuple)?;
    // SAFETY: a live entry of the map; races with other CPUs lose a mark at most.
    let entry = unsafe { &mut *entry };
    let seen = observe(frame.tuple.protocol, transport.tcp_flags);
    if entry.flags & seen != seen {
        return None;
    }
    if frame.tuple.protocol == UDP && conntrack::moved(entry) {
        return None;
    }
    Some(entry)
}

/// The way of a connection that begins and goes to another node as it is: nothing is noted of its SYN. One that is known
/// already is the business of the programs behind.
#[inline(always)]
fn begins<A: Plain>(frame: &Frame<A>) -> Option<&'static mut Entry<A>> {
    if settings::direct() { way_to_backend(frame) } else { None }
}

/// A function of its own, for its stack.
#[inline(never)]
fn way_to_backend<A: Plain>(frame: &Frame<A>) -> Option<&'static mut Entry<A>> {
    let tuple = &frame.tuple;
    let frontend = service::find(tuple.destination, tuple.destination_port, tuple.protocol)?;
    let wanted = frontend.flags & (Frontend::DIRECT | Frontend::INSIDE_ONLY) == Frontend::DIRECT;
    // Clients that keep a backend are not sent on like this.
    if !wanted || frontend.affinity != 0 || conntrack::get(tuple).is_some() {
        return None;
    }
    let choice = service::pick(tuple, &frontend, Side::Outside).ok()?;
    let address = choice.backend.address;
    if !direct::applies(&frontend, &choice) || address == tuple.destination {
        return None;
    }
    // SAFETY: of this CPU, on which nothing else runs this program meanwhile.
    let entry = unsafe { &mut *A::ways().get_ptr_mut(choice.id % WAYS)? };
    if entry.to.destination != address {
        entry.to = *tuple;
        entry.to.destination = address;
        entry.flags = flags::DIRECT;
        entry.hop.kind = hop::NONE;
    }
    Some(entry)
}

/// The first packet of a tick: looks up the way of a direction, and notes it if it leads back out of the device. If not, nothing
/// was seen: the programs behind look up, and note, for themselves.
///
/// A function of its own: its look-up takes 64 bytes of stack.
#[inline(never)]
fn learn<A: Plain>(frame: &Frame<A>, entry: &mut Entry<A>, now: u32) -> bool {
    let (mut fib, device) = (deliver::NOWHERE, frame::ifindex(frame.ctx));
    let found = if entry.flags & flags::DIRECT != 0 {
        direct::seek(frame.ctx.cast(), device, entry, frame.length, &mut fib)
    } else if settings::tunnel() != 0 {
        // What is in tunnels has other ways than the kernel's routes.
        return false;
    } else {
        deliver::look_up(frame.ctx.cast(), device, &entry.to, frame.length, &mut fib)
    };
    if found != BPF_FIB_LKUP_RET_SUCCESS as i64 || fib.ifindex != device || !frame.is_for(fib.smac) {
        return false;
    }
    entry.hop = if entry.flags & flags::DIRECT != 0 { direct::way::<A>(&fib) } else { deliver::way(&fib) };
    entry.last_seen = now;
    true
}
