//! What releases before the database kept in `pods.json`.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::Error;
use super::super::state::State;

/// The only layout that the file ever had.
const LAYOUT: u32 = 1;

/// Reads the file; nothing if there is none.
pub(super) fn read(directory: &Path) -> Result<State, Error> {
    let path = file(directory);
    let failed = |source| Error::State { path: path.clone(), source };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(failed(error)),
    };
    #[derive(Deserialize)]
    struct Head {
        layout: u32,
    }
    let head: Head = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    if head.layout != LAYOUT {
        return Err(Error::Layout { path, found: head.layout, known: LAYOUT });
    }
    serde_json::from_slice(&text).map_err(|error| failed(error.into()))
}

/// Renames the file, so that it is not read again.
pub(super) fn put_away(directory: &Path) -> io::Result<()> {
    match std::fs::rename(file(directory), directory.join("pods.json.imported")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("pods.json")
}
