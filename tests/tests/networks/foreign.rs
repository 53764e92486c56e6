//! Somebody else's XDP program: bpf(2) by hand, for the suite knows no data path.
#![expect(
    unsafe_code,
    reason = "bpf(2) takes a union by address; each call is one struct, checked by the kernel"
)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

fn bpf<T>(command: libc::c_long, attribute: &T) -> io::Result<OwnedFd> {
    // SAFETY: address and size are those of a live value.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attribute), size_of::<T>()) };
    let fd = RawFd::try_from(result).unwrap_or(-1);
    // SAFETY: a descriptor that the kernel just made for us.
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
}

/// Where a device runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Generic = 1 << 1,
    Native = 1 << 2,
}

/// Attaches a program that passes everything, called `theirs`, to a device of this network namespace. It goes with what is
/// returned.
pub(crate) fn attach(device: &str, mode: Mode) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u64; 2],
        version: u32,
        flags: u32,
        name: [u8; 16],
    }
    #[repr(C)]
    struct Create {
        program: RawFd,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    // `r0 = XDP_PASS; exit`.
    let instructions: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let load = Load {
        kind: PROG_TYPE_XDP,
        count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        version: 0,
        flags: 0,
        name: *b"theirs\0\0\0\0\0\0\0\0\0\0",
    };
    let program = bpf(PROG_LOAD, &load)?;
    let ifindex = nix::net::if_::if_nametoindex(device)?;
    bpf(
        LINK_CREATE,
        &Create { program: program.as_raw_fd(), ifindex, attach_type: ATTACH_XDP, flags: mode as u32 },
    )
}
