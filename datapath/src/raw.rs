//! The few bpf(2) calls that Aya does not have: replacing a link's program, asking a link where it is, reading and writing
//! maps in batches.
#![expect(
    unsafe_code,
    reason = "bpf(2) takes a union by address; each call is one struct, checked by the kernel"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::XdpMode;

const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Makes one bpf(2) call; the kernel takes a shorter attribute as zero-filled.
fn bpf<T>(command: libc::c_long, attribute: &mut T) -> io::Result<i32> {
    // SAFETY: the pointer and size are those of one live value; the kernel checks the contents.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Opens a pinned object.
pub(crate) fn get(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attribute {
        pathname: u64,
        fd: u32,
        flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let fd = bpf(BPF_OBJ_GET, &mut Attribute { pathname: path.as_ptr() as u64, fd: 0, flags: 0 })?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces a link's program, without a gap.
pub(crate) fn update_link(link: &OwnedFd, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attribute {
        link: RawFd,
        program: RawFd,
        flags: u32,
        old_program: u32,
    }
    let mut attribute =
        Attribute { link: link.as_raw_fd(), program: program.as_raw_fd(), flags: 0, old_program: 0 };
    bpf(BPF_LINK_UPDATE, &mut attribute).map(drop)
}

/// Makes a link of an XDP program at a device, or says why not: Aya would attach without a link where it cannot.
pub(crate) fn link_xdp(program: BorrowedFd<'_>, ifindex: u32, mode: XdpMode) -> io::Result<OwnedFd> {
    const BPF_XDP: u32 = 37;
    #[repr(C)]
    struct Attribute {
        program: RawFd,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let flags = match mode {
        XdpMode::Generic => 1 << 1,
        XdpMode::Native => 1 << 2,
    };
    let mut attribute = Attribute { program: program.as_raw_fd(), ifindex, attach_type: BPF_XDP, flags };
    let fd = bpf(BPF_LINK_CREATE, &mut attribute)?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Detaches a link at once, whoever holds it.
pub(crate) fn detach_link(link: &OwnedFd) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &mut link.as_raw_fd()).map(drop)
}

/// What a link says of itself.
pub(crate) struct LinkInfo {
    /// Id of its program.
    pub(crate) program: u32,
    /// Interface index, or cgroup id. Zero once it is detached, or its device or cgroup is gone.
    pub(crate) target: u64,
}

/// Asks a link.
pub(crate) fn link_info(link: &OwnedFd) -> io::Result<LinkInfo> {
    const CGROUP: u32 = 3;
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        program: u32,
        pad: u32,
        // TCX, XDP: interface index. Cgroup: id in 64 bits.
        place: [u32; 2],
        rest: [u64; 5],
    }
    #[repr(C)]
    struct Attribute {
        fd: RawFd,
        length: u32,
        info: u64,
    }
    let mut info = Info::default();
    let length = size_of::<Info>() as u32;
    bpf(
        BPF_OBJ_GET_INFO_BY_FD,
        &mut Attribute { fd: link.as_raw_fd(), length, info: std::ptr::from_mut(&mut info) as u64 },
    )?;
    let target = if info.kind == CGROUP {
        u64::from(info.place[1]) << 32 | u64::from(info.place[0])
    } else {
        u64::from(info.place[0])
    };
    Ok(LinkInfo { program: info.program, target })
}

/// The number that the kernel gave to a map, program or link: all of them say it in their second word.
fn id(object: &OwnedFd) -> io::Result<u32> {
    #[repr(C)]
    struct Attribute {
        fd: RawFd,
        length: u32,
        info: u64,
    }
    let mut info = [0_u32; 2];
    let length = size_of_val(&info) as u32;
    let info_at = std::ptr::from_mut(&mut info) as u64;
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut Attribute { fd: object.as_raw_fd(), length, info: info_at })?;
    Ok(info[1])
}

/// Whether this very object is pinned at a path.
pub(crate) fn is_pinned(object: &OwnedFd, path: &Path) -> bool {
    get(path).is_ok_and(|pinned| id(&pinned).is_ok_and(|found| id(object).is_ok_and(|ours| found == ours)))
}

/// Pins an object where it was, in place of anything else.
pub(crate) fn pin_again(object: &OwnedFd, path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Attribute {
        pathname: u64,
        fd: RawFd,
        flags: u32,
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attribute = Attribute { pathname: path.as_ptr() as u64, fd: object.as_raw_fd(), flags: 0 };
    bpf(BPF_OBJ_PIN, &mut attribute).map(drop)
}

#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: RawFd,
    element_flags: u64,
    flags: u64,
}

impl Batch {
    /// So many keys and values, which lie at these places.
    fn of(map: BorrowedFd<'_>, keys: u64, values: u64, count: usize) -> Self {
        let (map, count) = (map.as_raw_fd(), count as u32);
        Self { in_batch: 0, out_batch: 0, keys, values, count, map, element_flags: 0, flags: 0 }
    }
}

/// What a batch takes: values may be large.
const BATCH_BYTES: usize = 1 << 19;

/// Walks a map in batches of raw keys and values, to the first batch of which `visit` wants no entry; returns the number of
/// entries. Those that come or go meanwhile may or may not be seen.
fn walk(
    map: BorrowedFd<'_>,
    key: usize,
    value: usize,
    mut visit: impl FnMut(&[u8], &[u8]) -> bool,
) -> io::Result<u64> {
    let mut size = (BATCH_BYTES / (key + value)).clamp(64, 4096);
    let mut total = 0;
    // Where a batch ends: four bytes for hash maps.
    let mut token = [0u8; 64];
    let mut first = true;
    let (mut keys, mut values) = (vec![0; size * key], vec![0; size * value]);
    loop {
        let place = token.as_mut_ptr() as u64;
        let mut attribute = Batch {
            in_batch: if first { 0 } else { place },
            out_batch: place,
            ..Batch::of(map, keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64, size)
        };
        let finished = match bpf(BPF_MAP_LOOKUP_BATCH, &mut attribute) {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            // One bucket holds more than the buffer.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                size *= 2;
                keys.resize(size * key, 0);
                values.resize(size * value, 0);
                continue;
            }
            Err(error) => return Err(error),
        };
        let count = attribute.count as usize;
        total += count as u64;
        let entries = keys.chunks_exact(key).zip(values.chunks_exact(value)).take(count);
        let wanted = entries.fold(count == 0, |wanted, (key, value)| visit(key, value) | wanted);
        if finished || !wanted {
            return Ok(total);
        }
        first = false;
    }
}

/// Reads a whole map, see [`walk`].
pub(crate) fn read_all<K: aya::Pod, V: aya::Pod>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    read_while(map, |_, _| true)
}

/// Reads an array up to where it is in use, or the entries of a hash: those that are `wanted`, to the first batch that has
/// none.
pub(crate) fn read_while<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    wanted: impl Fn(&K, &V) -> bool,
) -> io::Result<Vec<(K, V)>> {
    let mut all = Vec::new();
    walk(map, size_of::<K>(), size_of::<V>(), |key, value| {
        // SAFETY: `Pod` types are plain integers, and the slices have exactly their sizes.
        let entry: (K, V) = unsafe {
            (key.as_ptr().cast::<K>().read_unaligned(), value.as_ptr().cast::<V>().read_unaligned())
        };
        let wanted = wanted(&entry.0, &entry.1);
        all.extend(wanted.then_some(entry));
        wanted
    })?;
    Ok(all)
}

/// Writes entries in this order. One that cannot be written ends it; those before it stay written.
pub(crate) fn write_all<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    let count = keys.len().min(values.len());
    if count == 0 {
        return Ok(());
    }
    let mut attribute = Batch::of(map, keys.as_ptr() as u64, values.as_ptr() as u64, count);
    bpf(BPF_MAP_UPDATE_BATCH, &mut attribute).map(drop)
}

/// Counts the entries of a hash map whose keys and values have these sizes.
pub(crate) fn count(map: BorrowedFd<'_>, key: usize, value: usize) -> io::Result<u64> {
    walk(map, key, value, |_, _| true)
}
