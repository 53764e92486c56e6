//! The one exit: a reason becomes a count and, in the tracing build, an event.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use fairway_common::Reason;
use fairway_common::conntrack::Tuple;
use fairway_common::event::{Event, Hook};

use crate::ip::Ip;
use crate::maps::{COUNTS, EVENTS};
use crate::packet::{self, Packet};
use crate::settings;

/// Counts a reason; `bytes` is 0 for calls.
#[inline(always)]
pub fn count(reason: Reason, bytes: u32) {
    add(reason as u32, bytes);
}

#[inline(always)]
fn add(index: u32, bytes: u32) {
    if let Some(count) = COUNTS.get_ptr_mut(index) {
        // SAFETY: this CPU's own entry.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += bytes as u64;
        }
    }
}

/// What an event says beside the reason.
pub struct Decision<'a, A> {
    /// Where.
    pub hook: Hook,
    /// The tuple before.
    pub before: &'a Tuple<A>,
    /// The tuple after.
    pub after: &'a Tuple<A>,
    /// The Service port's id, or 0.
    pub service: u32,
    /// The device, or 0.
    pub ifindex: u32,
    /// Bytes, or 0.
    pub length: u32,
    /// Flags of the TCP header, or 0.
    pub tcp_flags: u8,
}

/// Counts a packet's reason, and traces it.
#[inline(always)]
pub fn packet<A: Ip>(hook: Hook, reason: Reason, packet: &Packet<A>, before: &Tuple<A>, service: u32) {
    count(reason, packet::length(packet.skb));
    trace(
        reason,
        &Decision {
            hook,
            before,
            after: &packet.tuple,
            service,
            ifindex: packet::ifindex(packet.skb),
            length: packet::length(packet.skb),
            tcp_flags: packet.tcp_flags,
        },
    );
}

/// Writes an event, if this build does.
#[inline(always)]
pub fn trace<A: Ip>(reason: Reason, decision: &Decision<A>) {
    if !settings::trace() {
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        return add(Reason::ALL.len() as u32, 0);
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the reserved entry has the event's size; every field is written.
    unsafe {
        (&raw mut (*event).time).write(bpf_ktime_get_ns());
        (&raw mut (*event).source).write(decision.before.source.to_wide());
        (&raw mut (*event).destination).write(decision.before.destination.to_wide());
        (&raw mut (*event).new_source).write(decision.after.source.to_wide());
        (&raw mut (*event).new_destination).write(decision.after.destination.to_wide());
        (&raw mut (*event).source_port).write(decision.before.source_port);
        (&raw mut (*event).destination_port).write(decision.before.destination_port);
        (&raw mut (*event).new_source_port).write(decision.after.source_port);
        (&raw mut (*event).new_destination_port).write(decision.after.destination_port);
        (&raw mut (*event).ifindex).write(decision.ifindex);
        (&raw mut (*event).length).write(decision.length);
        (&raw mut (*event).service).write(decision.service);
        (&raw mut (*event).reason).write(reason as u8);
        (&raw mut (*event).hook).write(decision.hook as u8);
        (&raw mut (*event).family).write(A::VERSION);
        (&raw mut (*event).protocol).write(decision.before.protocol);
        (&raw mut (*event).tcp_flags).write(decision.tcp_flags);
        (&raw mut (*event).pad).write([0; 7]);
    }
    entry.submit(0);
}
