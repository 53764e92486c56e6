//! Deletions that wait for the agent: what the network plugin leaves in a directory while no agent answers, and the
//! agent carries out before it adds a pod.
//!
//! Each is one file without content whose name says what is to be deleted, `CONTAINER@DEVICE`: it is there or it is
//! not, and can be neither half-written nor damaged.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::node::Attachment;

/// Where the plugin leaves them if the network configuration does not say.
pub const DIRECTORY: &str = "/var/lib/fairway/deletions";

/// The directory; it need not be there.
#[derive(Clone, Debug)]
pub struct Deletions {
    directory: PathBuf,
}

impl Deletions {
    /// Those in this directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds one; again is a success. When this returns it outlives a loss of power.
    ///
    /// # Errors
    ///
    /// The directory or the file cannot be made.
    pub fn put(&self, attachment: &Attachment) -> io::Result<()> {
        if !self.directory.try_exists()? {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            if let Some(parent) = self.directory.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        let file = File::options().create(true).append(true).mode(0o600).open(self.file(attachment))?;
        file.sync_all()?;
        File::open(&self.directory)?.sync_all()
    }

    /// All, in no order. What has another name is left out.
    ///
    /// # Errors
    ///
    /// The directory is there and cannot be read.
    pub fn list(&self) -> io::Result<Vec<Attachment>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name()));
        let names: io::Result<Vec<_>> = names.collect();
        Ok(names?.iter().filter_map(|name| parse(name.to_str()?)).collect())
    }

    /// Whether this one waits.
    ///
    /// # Errors
    ///
    /// It cannot be found out.
    pub fn contains(&self, attachment: &Attachment) -> io::Result<bool> {
        self.file(attachment).try_exists()
    }

    /// Takes one away that has been carried out; one that is not there is a success.
    ///
    /// # Errors
    ///
    /// It is still there.
    pub fn remove(&self, attachment: &Attachment) -> io::Result<()> {
        match std::fs::remove_file(self.file(attachment)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn file(&self, attachment: &Attachment) -> PathBuf {
        // CNI allows neither `@` nor `/` in a container's id, and no `/` in a device's name.
        self.directory.join(format!("{}@{}", attachment.container_id, attachment.interface))
    }
}

fn parse(name: &str) -> Option<Attachment> {
    let (container_id, interface) = name.split_once('@')?;
    let whole = !container_id.is_empty() && !interface.is_empty();
    whole.then(|| Attachment { container_id: container_id.to_owned(), interface: interface.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn attachment(container_id: &str, interface: &str) -> Attachment {
        Attachment { container_id: container_id.into(), interface: interface.into() }
    }

    #[test]
    fn what_was_put_is_listed_until_it_is_removed() {
        // S117
        let parent = tempfile::tempdir().unwrap();
        let deletions = Deletions::new(parent.path().join("state/deletions"));
        let (one, other) = (attachment("a.b-c_d", "eth0"), attachment("a", "net@1"));
        assert!(deletions.list().unwrap().is_empty());
        assert!(!deletions.contains(&one).unwrap());
        for it in [&one, &one, &other] {
            deletions.put(it).unwrap();
        }
        std::fs::write(deletions.directory().join("stranger"), "").unwrap();
        let mut listed = deletions.list().unwrap();
        listed.sort_by_key(|it| it.container_id.len());
        assert_eq!(listed, [other, one.clone()]);
        deletions.remove(&one).unwrap();
        deletions.remove(&one).unwrap();
        assert!(!deletions.contains(&one).unwrap());
    }

    #[test]
    fn nobody_but_root_may_ask_for_a_deletion() {
        let parent = tempfile::tempdir().unwrap();
        let deletions = Deletions::new(parent.path().join("deletions"));
        deletions.put(&attachment("a", "eth0")).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(deletions.directory()), 0o700);
        assert_eq!(mode(&deletions.directory().join("a@eth0")), 0o600);
    }
}
