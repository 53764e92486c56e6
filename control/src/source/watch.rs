//! Follows a directory: every change of a file in it becomes new declarations.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use super::declaration::Declarations;
use super::directory::Directory;

/// Events are taken together until none came for so long.
const QUIET: Duration = Duration::from_millis(20);
/// A file that is still open for writing is waited for, but not longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the directory is looked at without an event: network file systems and targets of links send none.
const POLL: Duration = Duration::from_secs(2);

/// What the newest declarations are; `None` until all files were read once.
pub(crate) type Newest = watch::Receiver<Option<Arc<Declarations>>>;

/// Starts to follow a directory on a thread of its own, which ends when the last receiver is dropped.
///
/// # Errors
/// No thread can be started.
pub(crate) fn watch(directory: Directory) -> io::Result<Newest> {
    let (sender, receiver) = watch::channel(None);
    std::thread::Builder::new().name("manifests".into()).spawn(move || follow(directory, &sender))?;
    Ok(receiver)
}

fn follow(mut directory: Directory, newest: &watch::Sender<Option<Arc<Declarations>>>) {
    let (sender, events) = channel();
    let mut armed = Armed::new(sender);
    let mut first = true;
    while !newest.is_closed() {
        // Armed before it is read: nothing that happens in between is missed.
        armed.arm(directory.path());
        if directory.refresh() || first {
            newest.send_replace(Some(Arc::new(directory.declarations())));
            first = false;
        }
        wait(&events);
    }
}

/// Returns when something happened and the writers are done, or it is time to look anyway.
fn wait(events: &Receiver<Event>) {
    let mut writing = HashSet::new();
    let end = Instant::now() + POLL;
    let first = loop {
        match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(event) if !matters(&event) => {}
            Ok(event) => break event,
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => return std::thread::sleep(POLL),
        }
    };
    note_writers(&first, &mut writing);
    let patience = Instant::now() + PATIENCE;
    while Instant::now() < patience {
        match events.recv_timeout(QUIET) {
            Ok(event) => note_writers(&event, &mut writing),
            Err(_) if writing.is_empty() => return,
            Err(_) => {}
        }
    }
}

/// Reading is no change: without this, each look would be the reason for the next one.
fn matters(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

fn note_writers(event: &Event, writing: &mut HashSet<PathBuf>) {
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => writing.extend(event.paths.iter().cloned()),
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => writing.retain(|path| !event.paths.contains(path)),
        _ => {}
    }
}

/// The kernel's watch, and the directory that it is on.
struct Armed {
    events: Sender<Event>,
    watcher: Option<(RecommendedWatcher, (u64, u64))>,
    warned: bool,
}

impl Armed {
    fn new(events: Sender<Event>) -> Self {
        Self { events, watcher: None, warned: false }
    }

    /// Puts the watch on the directory that now has this path, which may be another one than before.
    fn arm(&mut self, path: &Path) {
        let Ok(metadata) = std::fs::metadata(path) else {
            self.watcher = None;
            return;
        };
        let identity = (metadata.dev(), metadata.ino());
        if self.watcher.as_ref().is_some_and(|(_, armed)| *armed == identity) {
            return;
        }
        let events = self.events.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Ok(event) = event {
                // Nobody reads any more only when the thread is about to end.
                let _ = events.send(event);
            }
        })
        .and_then(|mut watcher| watcher.watch(path, RecursiveMode::NonRecursive).map(|()| watcher));
        match watcher {
            Ok(watcher) => self.watcher = Some((watcher, identity)),
            Err(error) if !self.warned => {
                self.warned = true;
                tracing::warn!(%error, path = %path.display(), "no change events: looking every {POLL:?} instead");
            }
            Err(_) => {}
        }
    }
}
