//! What somebody with a tool could do to the kernel's objects: bpf(2) by hand, for the suite knows no data path.
#![expect(
    unsafe_code,
    reason = "bpf(2) takes a union by address; each call is two words, checked by the kernel"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAP_DELETE_ELEM: libc::c_long = 3;
const OBJ_GET: libc::c_long = 7;
const LINK_DETACH: libc::c_long = 34;

fn bpf(command: libc::c_long, words: [u64; 2]) -> io::Result<i32> {
    // SAFETY: address and size are those of a live value.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, words.as_ptr(), size_of_val(&words)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(i32::MAX)) }
}

fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let fd = bpf(OBJ_GET, [path.as_ptr() as u64, 0])?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn word(fd: &OwnedFd) -> u64 {
    u64::from(fd.as_raw_fd().unsigned_abs())
}

/// Takes a pinned link's program off its place; the pin stays.
pub(crate) fn detach(pin: &Path) -> io::Result<()> {
    bpf(LINK_DETACH, [word(&open(pin)?), 0]).map(drop)
}

/// Deletes an entry of a pinned map.
pub(crate) fn delete(pin: &Path, key: &[u8]) -> io::Result<()> {
    bpf(MAP_DELETE_ELEM, [word(&open(pin)?), key.as_ptr() as u64]).map(drop)
}
