//! Measures the kernel programs: writes a packet's headers anew, since the kernel keeps what the last run made of
//! them, and calls the program under test. `./x bench packet` runs it; no part of Fairway's object.
#![no_std]
#![no_main]

mod object;
#[path = "harness/primitive.rs"]
mod primitive;

use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_action};
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::{TcContext, XdpContext};
use fairway_common::harness::{HEAD, Plan};

/// What packets look like.
#[map]
static PLAN: Array<Plan> = Array::with_max_entries(1, 0);
/// The TC program under test.
#[map]
static TC: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// The XDP program under test: the kernel lets a table hold one kind.
#[map]
static XDP: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Writes the next packet of the plan between these addresses; false: there is no room.
#[inline(always)]
fn write(plan: &mut Plan, data: usize, end: usize) -> bool {
    if data + HEAD > end {
        return false;
    }
    for (index, word) in plan.head.iter().enumerate() {
        // SAFETY: bounds checked above; the machine does not mind how it is aligned.
        unsafe { ((data + index * 8) as *mut u64).write(*word) };
    }
    let flow = plan.next & plan.flows;
    plan.next = plan.next.wrapping_add(1);
    for field in &plan.fields {
        let at = data + (field.offset & 0x7f) as usize;
        if at + 2 > end {
            return false;
        }
        // SAFETY: bounds checked.
        unsafe { (at as *mut u16).write(field.value(flow)) };
    }
    true
}

/// Writes a packet and becomes the TC program under test.
#[classifier]
fn tc_harness(ctx: TcContext) -> i32 {
    let Some(plan) = PLAN.get_ptr_mut(0) else { return TC_ACT_SHOT };
    // SAFETY: a live entry, used by one CPU at a time.
    if write(unsafe { &mut *plan }, ctx.data(), ctx.data_end()) {
        // SAFETY: the context is this program's own.
        unsafe { TC.tail_call(&ctx, 0) };
    }
    TC_ACT_SHOT
}

/// Does nothing: what every TC program costs at least.
#[classifier]
fn tc_empty(_: TcContext) -> i32 {
    -1
}

/// Writes a packet and becomes the XDP program under test.
#[xdp]
fn xdp_harness(ctx: XdpContext) -> u32 {
    let Some(plan) = PLAN.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: as above.
    let plan = unsafe { &mut *plan };
    // In 64 bits: the verifier lets no pointer into 32.
    let longer = core::hint::black_box(ctx.data_end() - ctx.data()) as i32 - plan.length as i32;
    // What the last run put in front goes.
    // SAFETY: the kernel checks the bounds.
    if longer != 0 && unsafe { bpf_xdp_adjust_head(ctx.ctx, longer) } != 0 {
        return xdp_action::XDP_ABORTED;
    }
    if write(plan, ctx.data(), ctx.data_end()) {
        // SAFETY: as above.
        unsafe { XDP.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// Does nothing: what every XDP program costs at least.
#[xdp]
fn xdp_empty(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}
