//! The one exit: a reason becomes a count and, in the tracing build, an event.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use fairway_common::conntrack::Tuple;
use fairway_common::event::{Event, Hook};
use fairway_common::{Reason, limits};

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

/// Counts a packet's reason, and traces it.
#[inline(always)]
pub fn packet<A: Ip>(hook: Hook, reason: Reason, packet: &Packet<A>) {
    count(reason, packet::length(packet.skb));
    if settings::trace() {
        trace(
            packet.skb,
            &packet.original,
            &packet.tuple,
            packet.service,
            code(hook, reason, packet.tcp_flags),
        );
    }
}

/// Hook, reason and TCP flags in one argument: a BPF function takes five.
#[inline(always)]
pub fn code(hook: Hook, reason: Reason, tcp_flags: u8) -> u32 {
    (hook as u32) << 16 | (reason as u32) << 8 | tcp_flags as u32
}

/// Writes an event; `skb` is null at sockets. Called in the tracing build only: in the other one the verifier removes
/// the call.
#[inline(never)]
pub fn trace<A: Ip>(skb: *mut __sk_buff, before: &Tuple<A>, after: &Tuple<A>, service: u32, code: u32) {
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        return add(limits::COUNTS - 1, 0);
    };
    let (ifindex, length) = if skb.is_null() { (0, 0) } else { (packet::ifindex(skb), packet::length(skb)) };
    let event = entry.as_mut_ptr();
    // SAFETY: the reserved entry has the event's size; every field is written.
    unsafe {
        (&raw mut (*event).time).write(bpf_ktime_get_ns());
        (&raw mut (*event).source).write(before.source.to_wide());
        (&raw mut (*event).destination).write(before.destination.to_wide());
        (&raw mut (*event).new_source).write(after.source.to_wide());
        (&raw mut (*event).new_destination).write(after.destination.to_wide());
        (&raw mut (*event).source_port).write(before.source_port);
        (&raw mut (*event).destination_port).write(before.destination_port);
        (&raw mut (*event).new_source_port).write(after.source_port);
        (&raw mut (*event).new_destination_port).write(after.destination_port);
        (&raw mut (*event).ifindex).write(ifindex);
        (&raw mut (*event).length).write(length);
        (&raw mut (*event).service).write(service);
        (&raw mut (*event).reason).write((code >> 8) as u8);
        (&raw mut (*event).hook).write((code >> 16) as u8);
        (&raw mut (*event).family).write(A::VERSION);
        (&raw mut (*event).protocol).write(before.protocol);
        (&raw mut (*event).tcp_flags).write(code as u8);
        (&raw mut (*event).pad).write([0; 7]);
    }
    entry.submit(0);
}
