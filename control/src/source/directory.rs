//! A directory of manifests, and the last good state of each file in it.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::declaration::Declarations;
use super::file::{self, Content};
use super::merge::merge;
use super::problem::{Cause, Problem};

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A directory of manifests.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    files: BTreeMap<Arc<str>, File>,
    /// Why the directory itself could not be read; the files keep their state.
    problem: Option<Cause>,
}

#[derive(Debug)]
struct File {
    stamp: Option<Stamp>,
    /// The last good state; none: it was broken ever since it was first seen.
    content: Option<Content>,
    /// What is wrong with its present state.
    broken: Vec<Problem>,
}

/// Changes whenever a file is written or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Directory {
    /// A directory that has not been read yet.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), files: BTreeMap::new(), problem: None }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what changed since the last time. A broken file keeps its last good state, a directory that went
    /// away all of it. True if anything is different from before.
    pub(crate) fn refresh(&mut self) -> bool {
        let names = match self.names() {
            Ok(names) => names,
            Err(error) => {
                let cause = match error.kind() {
                    io::ErrorKind::NotFound => Cause::DirectoryMissing,
                    _ => Cause::DirectoryUnreadable { error: error.to_string() },
                };
                return self.problem.replace(cause.clone()) != Some(cause);
            }
        };
        let mut different = self.problem.take().is_some();
        let before = self.files.len();
        self.files.retain(|name, _| names.contains(name));
        different |= self.files.len() != before;
        for name in names {
            different |= self.refresh_file(name);
        }
        different
    }

    /// What all files declare now.
    pub(crate) fn declarations(&self) -> Declarations {
        let mut all = merge(self.files.values().filter_map(|file| file.content.as_ref()));
        all.complete = self.problem.is_none() && self.files.values().all(|file| file.content.is_some());
        all.problems.extend(self.files.values().flat_map(|file| &file.broken).cloned());
        all.problems.extend(self.problem.clone().map(|cause| Problem {
            file: None,
            at: None,
            object: None,
            field: None,
            cause,
        }));
        all.problems.sort();
        all
    }

    /// Names of the files to read, sorted.
    fn names(&self) -> io::Result<Vec<Arc<str>>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
            if !name.starts_with('.') && extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
                names.push(Arc::from(name));
            }
        }
        names.sort();
        Ok(names)
    }

    fn refresh_file(&mut self, name: Arc<str>) -> bool {
        let path = self.path.join(&*name);
        let stamp = std::fs::metadata(&path).ok().map(|metadata| Stamp::from(&metadata));
        let old = self.files.get_mut(&name);
        if stamp.is_some() && old.as_ref().is_some_and(|old| old.stamp == stamp) {
            return false;
        }
        let read = match std::fs::read(&path) {
            Ok(bytes) => file::read(&name, &bytes),
            Err(error) => Err(vec![Problem {
                file: Some(name.to_string()),
                at: None,
                object: None,
                field: None,
                cause: Cause::Unreadable { error: error.to_string() },
            }]),
        };
        let file = match old {
            Some(old) => old,
            None => self.files.entry(name).or_insert(File { stamp: None, content: None, broken: Vec::new() }),
        };
        file.stamp = stamp;
        match read {
            Ok(content) => {
                file.content = Some(content);
                file.broken.clear();
                true
            }
            Err(broken) => std::mem::replace(&mut file.broken, broken) != file.broken,
        }
    }
}
