//! What the host must offer: privilege, bpffs, cgroup v2.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};

use super::Error;
use crate::config::Config;

/// Checks what nothing works without, before anything is changed.
pub(super) fn check(config: &Config) -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if !existing(&config.bpf_root).is_some_and(|path| is_on(path, BPF_FS_MAGIC)) {
        return Err(Error::NoBpfFs { path: config.bpf_root.clone() });
    }
    std::fs::create_dir_all(&config.state_dir).map_err(|source| Error::File {
        what: "cannot make the directory",
        path: config.state_dir.clone(),
        source,
    })
}

/// The nearest directory that exists.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

fn is_on(path: &Path, kind: FsType) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == kind)
}

/// The cgroup v2 directory whose sockets are translated.
pub(super) fn cgroup(config: &Config) -> Result<PathBuf, Error> {
    if let Some(path) = &config.cgroup {
        let fits = path.is_dir() && is_on(path, CGROUP2_SUPER_MAGIC);
        return if fits { Ok(path.clone()) } else { Err(Error::NotACgroup { path: path.clone() }) };
    }
    let path = PathBuf::from("/proc/self/mountinfo");
    let mounts =
        std::fs::read_to_string(&path).map_err(|source| Error::File { what: "cannot read", path, source })?;
    cgroup2_mount(&mounts).ok_or(Error::NoCgroup)
}

/// The first cgroup2 mount of a mountinfo file (proc_pid_mountinfo(5)).
fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_cgroup2 = after.split(' ').next() == Some("cgroup2");
        is_cgroup2.then(|| before.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

/// The number of this process's network namespace.
pub(super) fn netns_cookie() -> Result<u64, Error> {
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| Error::NoCookie(io::Error::from(errno)))?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    #[expect(unsafe_code, reason = "nix does not know this socket option")]
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes to `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(Error::NoCookie(io::Error::last_os_error())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_in_a_hybrid_layout() {
        let mounts = "25 22 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro\n\
                      26 25 0:23 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n\
                      27 25 0:24 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount(""), None);
    }

    #[test]
    fn this_network_namespace_has_a_number() {
        assert_eq!(netns_cookie().unwrap(), netns_cookie().unwrap());
    }
}
