//! One agent for each state directory.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::Error;

/// Holds the directory until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Flock<File>,
}

/// Takes the directory for this process.
pub(super) fn take(state_dir: &Path) -> Result<Lock, Error> {
    let path = state_dir.join("agent.lock");
    let failed = |source| Error::File { what: "cannot lock", path: path.clone(), source };
    let file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((file, nix::errno::Errno::EAGAIN)) => {
            let pid = io::read_to_string(file).unwrap_or_default().trim().to_owned();
            return Err(Error::Locked { pid, state_dir: state_dir.to_owned() });
        }
        Err((_, errno)) => return Err(failed(errno.into())),
    };
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path()).unwrap();
        let error = take(dir.path()).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("another agent (process {}) uses", std::process::id())),
            "{error}"
        );
        drop(first);
        assert!(take(dir.path()).is_ok());
    }
}
