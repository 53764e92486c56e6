//! New certificates without a restart: the files are read again when they change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Loaded, Tls, TlsError, expiry, load};

/// How often the files are looked at. Events would not do: secrets of Kubernetes are links whose directory is swapped.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often what expires soon is told.
const WARN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// What shows that a file, or what its links lead to, is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Follows the files of mutual TLS.
pub(crate) struct Rotation {
    tls: Tls,
    seen: [Option<Seen>; 3],
    loaded: Loaded,
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Rotation {
    /// Reads the files.
    ///
    /// # Errors
    /// The file and what is wrong with it.
    pub(crate) fn new(tls: Tls) -> Result<Self, TlsError> {
        // Looked at before it is read: a change in between shows at the next look.
        let seen = look(&tls);
        let loaded = load(&tls)?;
        expiry::warn(&loaded.ends);
        let config = watch::Sender::new(Arc::clone(&loaded.config));
        Ok(Self { tls, seen, loaded, config })
    }

    /// What counts for the next handshake.
    pub(crate) fn config(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.config.subscribe()
    }

    /// Reads the files again whenever they change, until nobody asks any more.
    pub(crate) async fn follow(mut self) {
        let mut warned = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.config.closed() => return,
            }
            // A disk that hangs holds up this task alone.
            let Ok(rotation) = tokio::task::spawn_blocking(move || {
                self.refresh();
                self
            })
            .await
            else {
                return;
            };
            self = rotation;
            if warned.elapsed() >= WARN_EVERY {
                warned = Instant::now();
                expiry::warn(&self.loaded.ends);
            }
        }
    }

    fn refresh(&mut self) {
        let seen = look(&self.tls);
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        match load(&self.tls) {
            Ok(loaded) => {
                tracing::info!(
                    cert = %self.tls.cert.display(),
                    ca = %self.tls.ca.display(),
                    "new certificates are in force for new connections"
                );
                expiry::warn(&loaded.ends);
                self.config.send_replace(Arc::clone(&loaded.config));
                self.loaded = loaded;
            }
            // Also while somebody writes them one after another; the last one of them is a change again.
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the changed certificates cannot be used: the old ones stay in force"
            ),
        }
    }
}

fn look(tls: &Tls) -> [Option<Seen>; 3] {
    let seen = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some(Seen {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    [seen(&tls.cert), seen(&tls.key), seen(&tls.ca)]
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn rotation(directory: &Path) -> Rotation {
        let file = |name: &str| directory.join(name);
        Rotation::new(Tls { cert: file("server.pem"), key: file("server.key"), ca: file("ca.pem") }).unwrap()
    }

    #[test]
    fn a_secret_that_is_swapped_by_its_link_is_read_again() {
        let at = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            crate::certs::make(&at.path().join(name), &[], &[], crate::certs::DAYS).unwrap();
        }
        symlink("one", at.path().join("..data")).unwrap();
        for name in ["server.pem", "server.key", "ca.pem"] {
            symlink(Path::new("..data").join(name), at.path().join(name)).unwrap();
        }
        let mut rotation = rotation(at.path());
        let mut config = rotation.config();
        rotation.refresh();
        assert!(!config.has_changed().unwrap());
        symlink("two", at.path().join("..tmp")).unwrap();
        fs::rename(at.path().join("..tmp"), at.path().join("..data")).unwrap();
        rotation.refresh();
        assert!(config.has_changed().unwrap());
        config.mark_unchanged();
        rotation.refresh();
        assert!(!config.has_changed().unwrap());
    }

    #[test]
    fn files_that_cannot_be_used_leave_the_old_ones_in_force() {
        let at = tempfile::tempdir().unwrap();
        let (ours, others) = (at.path().join("ours"), at.path().join("others"));
        crate::certs::make(&ours, &[], &[], crate::certs::DAYS).unwrap();
        crate::certs::make(&others, &[], &[], crate::certs::DAYS).unwrap();
        let good = fs::read(ours.join("server.key")).unwrap();
        let mut rotation = rotation(&ours);
        let config = rotation.config();
        // Another certificate's key, no PEM, no file.
        fs::copy(others.join("server.key"), ours.join("server.key")).unwrap();
        rotation.refresh();
        fs::write(ours.join("server.key"), "nothing").unwrap();
        rotation.refresh();
        fs::remove_file(ours.join("server.key")).unwrap();
        rotation.refresh();
        assert!(!config.has_changed().unwrap());
        fs::write(ours.join("server.key"), good).unwrap();
        rotation.refresh();
        assert!(config.has_changed().unwrap());
    }
}
