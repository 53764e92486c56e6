//! Fairway's kernel programs. Entry points by hook, stages by noun: a hook reads as the list of its stages.
#![no_std]
#![no_main]

mod frame;
mod hooks;
mod ip;
mod maps;
mod packet;
mod settings;
mod stage;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Nothing panics here: the verifier would refuse the path.
    loop {}
}

/// The kernel lends some of its functions to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
