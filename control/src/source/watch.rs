//! Follows a directory: every change of a file in it becomes new declarations.

use std::collections::{BTreeSet, HashSet};
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
use super::directory::{Directory, is_manifest};

/// Changes that follow each other so closely are taken together, and so long a file is given that was made and may yet be
/// written.
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
    let mut look = Look::Everywhere;
    let mut first = true;
    while !newest.is_closed() {
        // Armed before it is read: nothing that happens in between is missed.
        if armed.arm(directory.path()) {
            look = Look::Everywhere;
        }
        let different = match look {
            Look::Everywhere => directory.refresh(),
            Look::At(names) => directory.refresh_some(names),
        };
        if different || first {
            newest.send_replace(Some(Arc::new(directory.declarations())));
            first = false;
        }
        look = wait(&events, &directory);
    }
}

/// Where something may have changed.
enum Look {
    Everywhere,
    /// At these files.
    At(BTreeSet<Arc<str>>),
}

/// Returns when something happened and the writers are done, or it is time to look anyway. A file that was put in its
/// place as a whole is not waited for.
fn wait(events: &Receiver<Event>, directory: &Directory) -> Look {
    let last = Instant::now();
    let mut seen = Seen::of(directory);
    while !seen.anything() {
        match events.recv_timeout((last + POLL).saturating_duration_since(Instant::now())) {
            Ok(event) => seen.note(&event),
            Err(RecvTimeoutError::Timeout) => return Look::Everywhere,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(POLL);
                return Look::Everywhere;
            }
        }
    }
    let patience = Instant::now() + PATIENCE;
    loop {
        while let Ok(event) = events.try_recv() {
            seen.note(&event);
        }
        let now = Instant::now();
        if seen.open.is_empty() && now >= last + QUIET || now >= patience {
            return seen.look();
        }
        let pause = if seen.open.is_empty() { last + QUIET - now } else { QUIET };
        match events.recv_timeout(pause) {
            Ok(event) => seen.note(&event),
            // What was only made may be a link, or stay empty.
            Err(_) if seen.written.is_empty() => return seen.look(),
            Err(_) => {}
        }
    }
}

/// What the events said so far.
struct Seen {
    /// The directory, as events name it.
    path: PathBuf,
    /// Events of other names may be those of files' targets.
    links: bool,
    everywhere: bool,
    names: BTreeSet<Arc<str>>,
    /// Files that were made or written, and not closed yet.
    open: HashSet<Arc<str>>,
    /// Those of them that were written.
    written: HashSet<Arc<str>>,
}

impl Seen {
    fn of(directory: &Directory) -> Self {
        Self {
            path: std::path::absolute(directory.path()).unwrap_or_else(|_| directory.path().to_owned()),
            links: directory.has_links(),
            everywhere: false,
            names: BTreeSet::new(),
            open: HashSet::new(),
            written: HashSet::new(),
        }
    }

    fn anything(&self) -> bool {
        self.everywhere || !self.names.is_empty()
    }

    fn look(self) -> Look {
        if self.everywhere { Look::Everywhere } else { Look::At(self.names) }
    }

    /// Reading is no change: without this, each look would be the reason for the next one.
    fn note(&mut self, event: &Event) {
        let closed = event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write));
        if event.kind.is_access() && !closed {
            return;
        }
        self.everywhere |= event.need_rescan() || event.paths.is_empty();
        for path in &event.paths {
            let name = path.file_name().and_then(|name| name.to_str());
            match name.filter(|name| is_manifest(name) && path.parent() == Some(&*self.path)) {
                Some(name) => self.note_file(&event.kind, &Arc::from(name)),
                None => self.everywhere |= self.links || *path == self.path,
            }
        }
    }

    fn note_file(&mut self, kind: &EventKind, name: &Arc<str>) {
        match kind {
            EventKind::Create(_) => drop(self.open.insert(name.clone())),
            EventKind::Modify(ModifyKind::Data(_)) => {
                self.open.insert(name.clone());
                self.written.insert(name.clone());
            }
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
                self.open.remove(name);
                self.written.remove(name);
            }
            _ => {}
        }
        self.names.insert(name.clone());
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

    /// Puts the watch on the directory that now has this path, which may be another one than before; true: it was not
    /// there.
    fn arm(&mut self, path: &Path) -> bool {
        let Ok(metadata) = std::fs::metadata(path) else {
            return self.watcher.take().is_some();
        };
        let identity = (metadata.dev(), metadata.ino());
        if self.watcher.as_ref().is_some_and(|(_, armed)| *armed == identity) {
            return false;
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
        true
    }
}
