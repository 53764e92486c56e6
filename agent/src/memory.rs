//! The allocator's habits: what a large sync needed for a moment goes back to the kernel.
#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "the GNU C library has these settings, and no crate in use wraps them")
)]

/// Keeps threads from having a heap each, of which none can use what another one has freed. Before there are threads.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a setting of the allocator; no memory of ours is concerned.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back what is free.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator gives back only what nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}
