//! Network namespaces by name, bound below /run/netns where `ip netns` looks for them too.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

const DIRECTORY: &str = "/run/netns";

/// A named network namespace. Dropping it does not remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netns {
    path: PathBuf,
}

impl Netns {
    /// The namespace of this name, which need not exist.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { path: Path::new(DIRECTORY).join(name) }
    }

    /// Where it is bound.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the namespace, with IPv6 addresses usable at once (no duplicate address detection).
    ///
    /// # Errors
    /// Not root, or a namespace of that name is there.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(DIRECTORY)?;
        File::create_new(&self.path)?;
        let made = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let none: Option<&str> = None;
            mount(Some("/proc/thread-self/ns/net"), &self.path, none, MsFlags::MS_BIND, none)?;
            Ok(())
        });
        if made.is_err() {
            fs::remove_file(&self.path).ok();
            return made;
        }
        self.set_sysctls(&[
            "net/ipv6/conf/all/accept_dad=0",
            "net/ipv6/conf/default/accept_dad=0",
            "net/ipv6/conf/all/accept_ra=0",
            "net/ipv6/conf/default/accept_ra=0",
            "net/ipv4/conf/all/rp_filter=0",
            "net/ipv4/conf/default/rp_filter=0",
        ])
    }

    /// Gives a namespace that is bound elsewhere this name too.
    ///
    /// # Errors
    /// Not root, or it is not there.
    pub fn bind(&self, other: &Path) -> io::Result<()> {
        fs::create_dir_all(DIRECTORY)?;
        self.remove()?;
        File::create_new(&self.path)?;
        let none: Option<&str> = None;
        Ok(mount(Some(other), &self.path, none, MsFlags::MS_BIND, none)?)
    }

    /// Removes the namespace's name; it goes when its last process has gone. One that is not there is a success.
    ///
    /// # Errors
    /// Not root.
    pub fn remove(&self) -> io::Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        match umount2(&self.path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::Error::EINVAL) => {}
            Err(error) => return Err(error.into()),
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Errors
    /// The namespace is not there, or is the one of process 1.
    pub fn enter(&self) -> io::Result<()> {
        let file = File::open(&self.path)?;
        if fs::metadata("/proc/1/ns/net").is_ok_and(|host| {
            file.metadata().is_ok_and(|own| (own.st_dev(), own.st_ino()) == (host.st_dev(), host.st_ino()))
        }) {
            return Err(io::Error::other(format!(
                "`{}` is the machine's own namespace",
                self.path.display()
            )));
        }
        Ok(setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs `job` on a thread of its own inside the namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the job's error.
    pub fn within<T: Send>(&self, job: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_thread(|| {
            self.enter()?;
            job()
        })
    }

    /// Sets `path=value` below /proc/sys, which shows the settings of the calling thread's namespace.
    pub(super) fn set_sysctls(&self, settings: &[&str]) -> io::Result<()> {
        self.within(|| {
            for setting in settings {
                let (path, value) = setting.split_once('=').unwrap_or((setting, "1"));
                fs::write(Path::new("/proc/sys").join(path), value)
                    .map_err(|error| io::Error::new(error.kind(), format!("sysctl `{path}`: {error}")))?;
            }
            Ok(())
        })
    }
}

fn in_thread<T: Send>(job: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(job)
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}
