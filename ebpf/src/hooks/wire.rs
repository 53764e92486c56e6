//! At the driver of a network device: packets that go back out of it need not get any further.
//!
//! An accelerator, with no rule of its own. It acts on a packet whose next hop leaves by the same device, and where
//! `from_network` would write nothing into any table: of a known connection, or one that begins a connection of which
//! nothing is noted. All others it passes, and `from_network` decides.

use aya_ebpf::bindings::xdp_action::{XDP_PASS, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use fairway_common::conntrack::flags;
use fairway_common::{Reason, V4, V6};

use crate::frame::{self, Frame, Plain};
use crate::packet::ETHERNET;
use crate::settings;
use crate::stage::{conntrack, direct, report, wire};

/// XDP at the node's device.
#[xdp]
pub fn from_wire(ctx: XdpContext) -> u32 {
    // What is traced takes the way on which every decision is told.
    if settings::trace() {
        return XDP_PASS;
    }
    let ctx = ctx.ctx;
    match frame::ethertype(ctx) {
        0x0800 => family::<V4>(ctx),
        0x86dd => family::<V6>(ctx),
        _ => XDP_PASS,
    }
}

/// A function of its own for each family: their stacks do not add up.
#[inline(never)]
fn family<A: Plain>(ctx: *mut xdp_md) -> u32 {
    match Frame::<A>::parse(ctx) {
        Some(frame) if send(&frame).is_some() => XDP_TX,
        _ => XDP_PASS,
    }
}

/// Sends a packet back, if that is all that becomes of it.
#[inline(always)]
fn send<A: Plain>(frame: &Frame<A>) -> Option<()> {
    if !conntrack::may_lead(&frame.tuple) {
        return None;
    }
    let transport = frame.transport()?;
    let entry = wire::find(frame, transport)?;
    if entry.flags & flags::DIRECT == 0 {
        frame.translate(transport, entry)?;
    } else if let Some(node) = direct::node_of(entry) {
        frame.enclose(&entry.hop, node)?;
    } else {
        frame.hop(&entry.hop)?;
    }
    report::count(Reason::Accelerated, frame.length as u32 + ETHERNET as u32);
    Some(())
}
