//! The database of pods: rows that outlive the agent and the node's power.
//!
//! One thread writes. Changes that wait for it go to disk together, in one transaction: fifty pods that are added at
//! once need a few durable writes, not a hundred.

mod import;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use tokio::sync::oneshot;

use super::Error;
use super::state::State;

/// Grows when an older agent could not read the rows any more.
pub(super) const LAYOUT: u32 = 1;

const LAYOUTS: TableDefinition<'_, &str, u32> = TableDefinition::new("layout");

/// What rows are about. A row has a key and a value in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// A device of a pod.
    Pods,
    /// What the kubelet said of a pod.
    Statuses,
    /// The last address given out of a range.
    Last,
}

impl Table {
    pub(super) const ALL: [Self; 3] = [Self::Pods, Self::Statuses, Self::Last];

    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(match self {
            Self::Pods => "pods",
            Self::Statuses => "statuses",
            Self::Last => "last",
        })
    }
}

/// A row as it is to be from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) table: Table,
    pub(super) key: String,
    /// None: the row goes.
    pub(super) value: Option<Vec<u8>>,
}

struct Request {
    changes: Vec<Change>,
    done: oneshot::Sender<Result<(), Arc<redb::Error>>>,
}

/// The way to the thread that writes. Dropping it closes the database.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens `pods.redb` in `directory` and reads it; makes both if they are missing. What an earlier release kept
    /// in `pods.json` is taken over once.
    pub(super) fn open(directory: &Path) -> Result<(Self, State), Error> {
        let path = directory.join("pods.redb");
        prepare(directory, &path)?;
        let database = open(&path)?;
        let state = read(&database, &path)?;
        Ok((Self::start(path, Some(database))?, state))
    }

    /// Starts the thread that writes.
    pub(super) fn start(path: PathBuf, database: Option<Database>) -> Result<Self, Error> {
        let (requests, incoming) = mpsc::channel();
        let writer = Writer { path: path.clone(), database, changes: Vec::new() };
        let thread = std::thread::Builder::new().name("pods-store".into());
        let thread = thread.spawn(move || serve(writer, &incoming));
        let thread = thread.map_err(|source| Error::State { path: path.clone(), source })?;
        Ok(Self { path, requests: Some(requests), thread: Some(thread) })
    }

    /// Hands over changes; those handed over earlier are written earlier. The answer comes when they outlive a loss
    /// of power. After an error they are not forgotten: the next changes are written together with them.
    pub(super) fn write(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (done, written) = oneshot::channel();
        let sent = self.requests.as_ref().map(|requests| requests.send(Request { changes, done }));
        let path = self.path.clone();
        async move {
            drop(sent);
            match written.await {
                Ok(result) => result.map_err(|source| Error::Database { path, source }),
                Err(_) => Err(Error::Stopping),
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.requests = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!("the thread that writes `{}` panicked", self.path.display());
        }
    }
}

/// What is kept in `directory`, without making anything; for a node whose agent is stopped.
pub(super) fn peek(directory: &Path) -> Result<State, Error> {
    let path = directory.join("pods.redb");
    if path.exists() { read(&open(&path)?, &path) } else { import::read(directory) }
}

/// Makes the database if it is not there. It appears whole or not at all.
fn prepare(directory: &Path, path: &Path) -> Result<(), Error> {
    let failed = |source| Error::State { path: path.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    if !path.try_exists().map_err(failed)? {
        let state = import::read(directory)?;
        let new = directory.join("pods.redb.new");
        // What a start that did not come to its end has left.
        if new.try_exists().map_err(failed)? {
            std::fs::remove_file(&new).map_err(failed)?;
        }
        fill(&new, &state.rows())
            .map_err(|error| Error::Database { path: new.clone(), source: Arc::new(error) })?;
        std::fs::rename(&new, path).map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    }
    import::put_away(directory).map_err(failed)
}

fn fill(path: &Path, rows: &[Change]) -> Result<(), redb::Error> {
    let database = Database::create(path)?;
    let transaction = database.begin_write()?;
    transaction.open_table(LAYOUTS)?.insert("layout", LAYOUT)?;
    transaction.commit()?;
    write(&database, rows)?;
    Ok(database.close()?)
}

fn open(path: &Path) -> Result<Database, Error> {
    // A damaged file is an error and not a panic.
    let database = Builder::new().set_check_integrity_on_open(true).open(path);
    database.map_err(|error| damaged(path, error))
}

fn damaged(path: &Path, error: impl Into<redb::Error>) -> Error {
    Error::Damaged { path: path.to_owned(), source: Arc::new(error.into()) }
}

fn read(database: &Database, path: &Path) -> Result<State, Error> {
    let (layout, rows) = rows(database).map_err(|error| damaged(path, error))?;
    if layout != LAYOUT {
        return Err(Error::Layout { path: path.to_owned(), found: layout, known: LAYOUT });
    }
    State::from_rows(rows).map_err(|error| Error::State { path: path.to_owned(), source: error.into() })
}

type Rows = Vec<(Table, String, Vec<u8>)>;

fn rows(database: &Database) -> Result<(u32, Rows), redb::Error> {
    let transaction = database.begin_read()?;
    let layout = transaction.open_table(LAYOUTS)?.get("layout")?.map_or(0, |layout| layout.value());
    let mut rows = Vec::new();
    for table in Table::ALL {
        let opened = match transaction.open_table(table.definition()) {
            Ok(opened) => opened,
            Err(TableError::TableDoesNotExist(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        for row in opened.iter()? {
            let (key, value) = row?;
            rows.push((table, key.value().to_owned(), value.value().to_owned()));
        }
    }
    Ok((layout, rows))
}

/// Writes what is asked for until nobody can ask any more.
fn serve(mut writer: Writer, requests: &mpsc::Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let mut waiting = Vec::new();
        for request in std::iter::once(first).chain(requests.try_iter()) {
            writer.changes.extend(request.changes);
            waiting.push(request.done);
        }
        let result = writer.flush().map_err(Arc::new);
        for done in waiting {
            let _nobody_waits = done.send(result.clone());
        }
    }
}

struct Writer {
    path: PathBuf,
    /// None after an error: it has to be opened anew.
    database: Option<Database>,
    /// What is not on disk. After an error it stays, before what comes: the disk catches up with the memory.
    changes: Vec<Change>,
}

impl Writer {
    fn flush(&mut self) -> Result<(), redb::Error> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let database = match self.database.take() {
            Some(database) => database,
            None => Database::open(&self.path)?,
        };
        write(&database, &self.changes)?;
        self.database = Some(database);
        self.changes.clear();
        Ok(())
    }
}

fn write(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for table in Table::ALL {
        let mut changes = changes.iter().filter(|change| change.table == table).peekable();
        if changes.peek().is_none() {
            continue;
        }
        let mut opened = transaction.open_table(table.definition())?;
        for change in changes {
            match &change.value {
                Some(value) => opened.insert(change.key.as_str(), value.as_slice())?,
                None => opened.remove(change.key.as_str())?,
            };
        }
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests;
