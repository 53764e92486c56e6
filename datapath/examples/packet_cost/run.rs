//! The two bpf(2) calls: Aya loads whole objects only, and copies every packet back.
#![expect(
    unsafe_code,
    reason = "bpf(2) takes a union by address; each call is one struct, checked by the kernel"
)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Repeats of one test run: the packet is not restored between them and loses a hop in each, from 255 on.
pub(crate) const BATCH: u32 = 200;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;

fn bpf<T>(command: libc::c_long, attribute: &mut T) -> io::Result<i32> {
    // SAFETY: the pointer and size are those of one live value; the kernel checks the contents.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Loads a classifier that does nothing: `r0 = -1; exit`.
pub(crate) fn load_empty() -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attribute {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
    }
    const SCHED_CLS: u32 = 3;
    let instructions: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let mut attribute = Attribute {
        kind: SCHED_CLS,
        count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attribute)?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Runs a program on a packet, [`BATCH`] times: the last verdict, and the mean nanoseconds of a run.
pub(crate) fn test_run(program: RawFd, packet: &[u8], device: u32) -> io::Result<(i32, u32)> {
    #[repr(C)]
    #[derive(Default)]
    struct Attribute {
        program: RawFd,
        verdict: u32,
        size_in: u32,
        size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        nanoseconds: u32,
        context_size_in: u32,
        context_size_out: u32,
        context_in: u64,
        context_out: u64,
    }
    // `struct __sk_buff`: only the device is set.
    let mut context = [0u8; 192];
    context[40..44].copy_from_slice(&device.to_ne_bytes());
    let mut attribute = Attribute {
        program,
        size_in: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        repeat: BATCH,
        context_size_in: context.len() as u32,
        context_in: context.as_ptr() as u64,
        ..Attribute::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attribute)?;
    Ok((attribute.verdict as i32, attribute.nanoseconds))
}
