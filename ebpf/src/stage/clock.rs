//! Time and chance, which the kernel's helpers take 20 ns for: asked once in a jiffy (1 to 10 ms) on each CPU.

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_jiffies64, bpf_ktime_get_coarse_ns};
use fairway_common::conntrack::tick;

use crate::maps::MOMENT;

/// What a CPU knows of the present jiffy.
#[repr(C)]
pub struct Moment {
    /// Which one it is.
    jiffy: u64,
    /// The clock of connection tracking.
    tick: u32,
    /// The number drawn last.
    drawn: u32,
}

/// What this CPU knows, up to date.
#[inline(always)]
fn moment() -> Option<*mut Moment> {
    let moment = MOMENT.get_ptr_mut(0)?;
    // SAFETY: a live entry of the map; the helper has no arguments.
    unsafe {
        let jiffy = bpf_jiffies64();
        if (*moment).jiffy != jiffy {
            refresh(&mut *moment, jiffy);
        }
    }
    Some(moment)
}

/// A program at a socket may be interrupted by one at a device: so the jiffy, which says that the rest is true, is written
/// last.
#[inline(never)]
fn refresh(moment: &mut Moment, jiffy: u64) {
    // SAFETY: of this CPU; the helpers have no arguments.
    unsafe {
        (&raw mut moment.tick).write_volatile(tick(bpf_ktime_get_coarse_ns()));
        (&raw mut moment.drawn).write_volatile(bpf_get_prandom_u32() | 1);
        (&raw mut moment.jiffy).write_volatile(jiffy);
    }
}

/// The clock of connection tracking, at most a jiffy late.
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: a live entry of the map.
    moment().map_or(0, |moment| unsafe { (*moment).tick })
}

/// A random number, good enough to spread connections: xorshift, which begins anew with each jiffy.
///
/// A function of its own: few packets draw one.
#[inline(never)]
pub fn random() -> u32 {
    // SAFETY: a live entry of the map.
    moment().map_or(0, |moment| unsafe {
        let mut number = (*moment).drawn;
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
        (*moment).drawn = number;
        number
    })
}
