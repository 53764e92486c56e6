//! A directory of manifests, and the last good state of each file in it.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::declaration::Declarations;
use super::file::{self, Content};
use super::merge::{exchange, merge, note};
use super::problem::{Cause, Problem};

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A directory of manifests.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    files: BTreeMap<Arc<str>, File>,
    /// Why the directory itself could not be read; the files keep their state.
    problem: Option<Cause>,
    /// The objects of all files, and nothing else; none: something is declared twice, or was.
    merged: Option<Declarations>,
}

#[derive(Debug)]
struct File {
    stamp: Option<Stamp>,
    /// It is a link: its target may change without it.
    link: bool,
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
        Self { path: path.into(), files: BTreeMap::new(), problem: None, merged: None }
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
        let gone: Vec<_> =
            self.files.keys().filter(|name| names.binary_search(name).is_err()).cloned().collect();
        for name in gone {
            different |= self.forget(&name);
        }
        for name in names {
            different |= self.refresh_file(name);
        }
        different
    }

    /// Reads these files, if they are there; others have not changed. True if anything is different from before.
    pub(crate) fn refresh_some(&mut self, names: impl IntoIterator<Item = Arc<str>>) -> bool {
        if self.problem.is_some() {
            return self.refresh();
        }
        let mut different = false;
        for name in names {
            let there = std::fs::symlink_metadata(self.path.join(&*name)).is_ok();
            different |= if there { self.refresh_file(name) } else { self.forget(&name) };
        }
        different
    }

    /// Whether a file can change without an event of its own.
    pub(crate) fn has_links(&self) -> bool {
        self.files.values().any(|file| file.link)
    }

    /// What all files declare now.
    pub(crate) fn declarations(&mut self) -> Declarations {
        let contents = self.files.values().filter_map(|file| file.content.as_ref());
        let mut all = match &self.merged {
            Some(merged) => {
                let mut all = merged.clone();
                contents.for_each(|content| note(&mut all, content));
                all
            }
            None => {
                let all = merge(contents);
                let once =
                    !all.problems.iter().any(|problem| matches!(problem.cause, Cause::DeclaredTwice { .. }));
                let objects = || Declarations { problems: vec![], skipped: BTreeMap::new(), ..all.clone() };
                self.merged = once.then(objects);
                all
            }
        };
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

    /// Forgets a file; true if there was one.
    fn forget(&mut self, name: &str) -> bool {
        let Some(file) = self.files.remove(name) else { return false };
        self.exchange(file.content.as_ref(), None);
        true
    }

    fn exchange(&mut self, old: Option<&Content>, new: Option<&Content>) {
        if let Some(merged) = &mut self.merged
            && !exchange(merged, old, new)
        {
            self.merged = None;
        }
    }

    /// Names of the files to read, sorted.
    fn names(&self) -> io::Result<Vec<Arc<str>>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if let Some(name) = name.to_str().filter(|name| is_manifest(name)) {
                names.push(Arc::from(name));
            }
        }
        names.sort();
        Ok(names)
    }

    fn refresh_file(&mut self, name: Arc<str>) -> bool {
        let path = self.path.join(&*name);
        let stamp = std::fs::metadata(&path).ok().map(|metadata| Stamp::from(&metadata));
        let old = self.files.get(&name);
        if stamp.is_some() && old.is_some_and(|old| old.stamp == stamp) {
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
        let new = || File { stamp: None, link: false, content: None, broken: Vec::new() };
        let file = self.files.entry(name).or_insert_with(new);
        file.stamp = stamp;
        file.link = path.is_symlink();
        match read {
            Ok(content) => {
                file.broken.clear();
                let old = file.content.replace(content.clone());
                self.exchange(old.as_ref(), Some(&content));
                true
            }
            Err(broken) => std::mem::replace(&mut file.broken, broken) != file.broken,
        }
    }
}

/// Whether a file of this name is read.
pub(crate) fn is_manifest(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    !name.starts_with('.') && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}
