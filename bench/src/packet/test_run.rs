//! The bpf(2) calls that Aya does not have: a test run that copies nothing back, and whole tables written and emptied at once.
#![expect(
    unsafe_code,
    reason = "bpf(2) takes a union by address; each call is one struct, checked by the kernel"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

fn bpf<T>(command: libc::c_long, attribute: &mut T) -> io::Result<i32> {
    // SAFETY: the pointer and size are those of one live value; the kernel checks the contents.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// The type of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Tc,
    Xdp,
}

/// Runs a program on a packet that came by a device, again and again: the last verdict, and the mean nanoseconds of a
/// run.
pub(crate) fn test_run(
    kind: Kind,
    program: BorrowedFd<'_>,
    packet: &[u8],
    device: u32,
    repeat: u32,
) -> io::Result<(i32, u32)> {
    #[repr(C)]
    #[derive(Default)]
    struct Attribute {
        program: i32,
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
    let mut context = [0u32; 48];
    let length = match kind {
        // `struct __sk_buff`: only the device is set.
        Kind::Tc => {
            context[10] = device;
            192
        }
        // `struct xdp_md`: where the packet ends, the device and its first queue.
        Kind::Xdp => {
            (context[1], context[3]) = (packet.len() as u32, device);
            24
        }
    };
    let mut attribute = Attribute {
        program: program.as_raw_fd(),
        size_in: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        repeat,
        context_size_in: length,
        context_in: context.as_ptr() as u64,
        ..Attribute::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attribute)?;
    Ok((attribute.verdict as i32, attribute.nanoseconds))
}

#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: i32,
    element_flags: u64,
    flags: u64,
}

/// Writes entries into a hash.
pub(crate) fn insert<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    let (keys_at, values_at) = (keys.as_ptr() as u64, values.as_ptr() as u64);
    let mut batch = Batch {
        in_batch: 0,
        out_batch: 0,
        keys: keys_at,
        values: values_at,
        count: keys.len().min(values.len()) as u32,
        map: map.as_raw_fd(),
        element_flags: 0,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_BATCH, &mut batch).map(drop)
}

/// Empties a hash whose keys and values have these types.
pub(crate) fn clear<K: aya::Pod, V: aya::Pod>(map: BorrowedFd<'_>) -> io::Result<()> {
    const SIZE: usize = 16_384;
    let mut keys = vec![0u8; SIZE * size_of::<K>()];
    let mut values = vec![0u8; SIZE * size_of::<V>()];
    let mut token = [0u8; 64];
    let place = token.as_mut_ptr() as u64;
    let mut first = true;
    loop {
        let mut batch = Batch {
            in_batch: if first { 0 } else { place },
            out_batch: place,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: SIZE as u32,
            map: map.as_raw_fd(),
            element_flags: 0,
            flags: 0,
        };
        match bpf(BPF_MAP_LOOKUP_AND_DELETE_BATCH, &mut batch) {
            Ok(_) => first = false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
