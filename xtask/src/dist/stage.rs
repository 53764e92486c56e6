//! A folder that is packed: files with the modes and times that they have in the archive, whatever the umask.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};

/// What is at a path.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A copy of this file.
    Copy(PathBuf),
    Text(String),
    Link(&'static str),
    EmptyFolder,
}

/// One path of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Relative to the root.
    pub(crate) path: String,
    pub(crate) content: Content,
    pub(crate) mode: u32,
}

impl Entry {
    /// A program.
    pub(crate) fn program(path: &str, from: PathBuf) -> Self {
        Self { path: path.into(), content: Content::Copy(from), mode: 0o755 }
    }

    /// A file for everyone to read.
    pub(crate) fn copy(path: impl Into<String>, from: PathBuf) -> Self {
        Self { path: path.into(), content: Content::Copy(from), mode: 0o644 }
    }

    /// The same, written here.
    pub(crate) fn text(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), content: Content::Text(text.into()), mode: 0o644 }
    }
}

/// The folder; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) root: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What is left is in a folder for what builds leave behind.
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Stage {
    /// Puts the entries below a new folder in `out`.
    pub(crate) fn fill(out: &Path, name: &str, entries: &[Entry]) -> Result<Self> {
        let stage = Self { root: out.join(format!(".{name}.{}", std::process::id())) };
        fs::create_dir_all(&stage.root)?;
        stage.add(entries)?;
        Ok(stage)
    }

    /// Puts more below it.
    pub(crate) fn add(&self, entries: &[Entry]) -> Result<()> {
        for entry in entries {
            self.put(entry).with_context(|| format!("`{}` cannot be packed", entry.path))?;
        }
        Ok(())
    }

    fn put(&self, entry: &Entry) -> Result<()> {
        let path = self.root.join(&entry.path);
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        match &entry.content {
            Content::Copy(from) => {
                fs::copy(from, &path).with_context(|| format!("`{}`", from.display())).map(drop)?;
            }
            Content::Text(text) => fs::write(&path, text)?,
            Content::Link(to) => return Ok(symlink(to, &path)?),
            Content::EmptyFolder => fs::create_dir_all(&path)?,
        }
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode))?)
    }

    /// Gives every folder its mode, and everything its time. Nothing may be put afterwards.
    pub(crate) fn seal(&self, epoch: u64) -> Result<()> {
        seal(&self.root, UNIX_EPOCH + Duration::from_secs(epoch))
    }

    /// The size of all files in KiB, each rounded up.
    pub(crate) fn kib(&self) -> Result<u64> {
        kib(&self.root)
    }
}

fn seal(path: &Path, time: std::time::SystemTime) -> Result<()> {
    let metadata = path.symlink_metadata()?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            seal(&entry?.path(), time)?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    if !metadata.is_symlink() {
        fs::File::open(path)?.set_modified(time)?;
    }
    Ok(())
}

fn kib(path: &Path) -> Result<u64> {
    let metadata = path.symlink_metadata()?;
    if !metadata.is_dir() {
        return Ok(metadata.len().div_ceil(1024));
    }
    let mut sum = 1;
    for entry in fs::read_dir(path)? {
        sum += kib(&entry?.path())?;
    }
    Ok(sum)
}
