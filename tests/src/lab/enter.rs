//! Programs inside the world: a network namespace and a cgroup, and nothing else, are changed before they start.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::{Cgroup, Netns};

/// Where a program runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Name of the network namespace.
    pub netns: String,
    /// Path of the cgroup below the root of the cgroup2 mount.
    pub cgroup: String,
}

impl Place {
    /// Moves the calling process into the place. Call it while the process has one thread.
    ///
    /// # Errors
    /// The place is not there, or not root.
    pub fn enter(&self) -> io::Result<()> {
        let named = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
        let cgroup = Cgroup::below_root(&self.cgroup)?;
        cgroup.enter().map_err(|e| named(&self.cgroup, e))?;
        Netns::named(&self.netns).enter().map_err(|e| named(&self.netns, e))
    }
}

/// The command that runs `program` in `place`: through `fairway-lab enter`, so that the socket programs see it from its
/// first system call on. Programs of the build are found by name.
///
/// # Errors
/// The build's directory is not known.
pub fn command(place: &Place, program: impl Into<OsString>) -> io::Result<Command> {
    // Made here and not by `enter`: a program that starts while the lab goes down must not bring it back.
    Cgroup::below_root(&place.cgroup)?.create()?;
    let directory = binaries()?;
    let mut command = Command::new(directory.join("fairway-lab"));
    command.args(["enter", "--netns", &place.netns, "--cgroup", &place.cgroup, "--"]).arg(program.into());
    command.env("PATH", search_path()?);
    Ok(command)
}

/// A directory whose programs are taken instead of the build's: release builds of some, to measure.
const INSTEAD: &str = "FAIRWAY_LAB_PROGRAMS";

/// PATH with the build's programs first.
pub(crate) fn search_path() -> io::Result<OsString> {
    let standard = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let instead = env::var_os(INSTEAD).map(PathBuf::from);
    let all = instead.into_iter().chain([binaries()?]).chain(standard.into_iter().map(PathBuf::from));
    env::join_paths(all).map_err(io::Error::other)
}

/// The directory of the build's programs: that of this executable, or the one above for a test's or an example's.
pub(crate) fn binaries() -> io::Result<PathBuf> {
    let own = env::current_exe()?;
    let directory = own.parent().ok_or_else(|| io::Error::other("the executable has no directory"))?;
    let is_below = directory.file_name().is_some_and(|name| name == "deps" || name == "examples");
    Ok(if is_below { directory.parent().unwrap_or(directory) } else { directory }.to_owned())
}
