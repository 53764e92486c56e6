//! Directories of the cgroup v2 tree, in which socket programs and clean-up find a lab's processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A cgroup v2 directory. Dropping it does not remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// `name` below the root of the cgroup2 mount, wherever that is.
    ///
    /// # Errors
    /// No cgroup2 file system is mounted.
    pub fn below_root(name: &str) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let (_, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        });
        let root = root.ok_or_else(|| {
            io::Error::other("no cgroup2 is mounted: run `mount -t cgroup2 none /sys/fs/cgroup`")
        })?;
        Ok(Self { path: root.join(name) })
    }

    /// The cgroup `name` below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self { path: self.path.join(name) }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it and those above it. One that is there is a success.
    ///
    /// # Errors
    /// Not root.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)
    }

    /// Moves the calling process into it.
    ///
    /// # Errors
    /// It is not there, or not root.
    pub fn enter(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), "0")
    }

    /// Kills everything in it and below it. One that is not there is a success.
    ///
    /// # Errors
    /// Not root.
    pub fn kill(&self) -> io::Result<()> {
        match fs::write(self.path.join("cgroup.kill"), "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Kills everything in it and below it, and removes it. One that is not there is a success.
    ///
    /// # Errors
    /// Processes that do not go within five seconds.
    pub fn remove(&self) -> io::Result<()> {
        let start = Instant::now();
        loop {
            // Each time: a process that was starting may have come in meanwhile.
            self.kill()?;
            match remove_tree(&self.path) {
                Err(error)
                    if error.raw_os_error() == Some(libc::EBUSY)
                        && start.elapsed() < Duration::from_secs(5) =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                done => return done,
            }
        }
    }
}

/// Removes the directories alone: the files in them are the kernel's.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
