//! Conntrack entries of one family: the table, and the connections that found it full.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya::maps::{HashMap, MapData, MapError};
use fairway_common::conntrack::{Entry, Tuple};
use fairway_common::{Family, limits};

use super::half::{Address, gone_is_fine, open, pin};
use crate::connections::Keyed;
use crate::{Error, raw};

/// Insert only what is not there (BPF_NOEXIST).
const NOEXIST: u64 = 1;

fn full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(libc::E2BIG))
}

/// The table and its overflow.
pub(crate) struct Flows<A: Address> {
    tables: [HashMap<MapData, Tuple<A>, Entry<A>>; 2],
    /// The same maps, for reading in batches: Aya lends no descriptor.
    fds: [OwnedFd; 2],
}

/// All entries; those of the overflow come last.
pub(crate) struct Entries<A: Family> {
    pub(crate) all: Vec<Keyed<A>>,
    /// How many of them stand in the table itself.
    pub(crate) in_table: usize,
}

impl<A: Family> Entries<A> {
    /// The share of the table that is in use.
    pub(crate) fn fill(&self) -> f64 {
        self.in_table as f64 / f64::from(limits::CONNTRACK)
    }
}

impl<A: Address> Flows<A> {
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let table = |name| open(directory, name)?.try_into().map_err(Error::map("open", name));
        let get = |name| raw::get(&pin(directory, name)?).map_err(Error::io("open map", name));
        let [main, overflow] = A::FLOWS;
        Ok(Self { tables: [table(main)?, table(overflow)?], fds: [get(main)?, get(overflow)?] })
    }

    /// Everything. Entries that come or go meanwhile may or may not be there.
    pub(crate) fn read(&self) -> Result<Entries<A>, Error> {
        let read = |index: usize| {
            let entries: Result<Vec<Keyed<A>>, _> = raw::read_all(self.fds[index].as_fd());
            entries.map_err(Error::io("read map", A::FLOWS[index]))
        };
        let mut all = read(0)?;
        let in_table = all.len();
        all.extend(read(1)?);
        Ok(Entries { all, in_table })
    }

    /// Whether nothing stands in the overflow.
    pub(crate) fn overflow_is_empty(&self) -> Result<bool, Error> {
        match self.tables[1].keys().next() {
            None => Ok(true),
            Some(Ok(_)) => Ok(false),
            Some(Err(error)) => Err(Error::map("read", A::FLOWS[1])(error)),
        }
    }

    /// One entry, as the kernel finds it.
    pub(crate) fn get(&self, key: &Tuple<A>) -> Result<Option<Entry<A>>, Error> {
        for (table, name) in self.tables.iter().zip(A::FLOWS) {
            match table.get(key, 0) {
                Ok(entry) => return Ok(Some(entry)),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(Error::map("read", name)(error)),
            }
        }
        Ok(None)
    }

    /// Removes one entry; one that is not there is a success.
    pub(crate) fn remove(&mut self, key: &Tuple<A>) -> Result<(), Error> {
        for (table, name) in self.tables.iter_mut().zip(A::FLOWS) {
            gone_is_fine(table.remove(key)).map_err(Error::map("write", name))?;
        }
        Ok(())
    }

    /// Writes an entry unless there is one.
    pub(crate) fn put_back(&mut self, key: &Tuple<A>, entry: &Entry<A>) {
        // One that came meanwhile is newer; where it cannot be written, the next packet makes it anew.
        let _ = self.tables[0].insert(key, entry, NOEXIST);
    }

    /// Moves what stands in the overflow into the table, where nothing is evicted.
    pub(crate) fn move_home(&mut self, entries: &[Keyed<A>]) -> Result<(), Error> {
        for (key, _) in entries {
            let Ok(entry) = self.tables[1].get(key, 0) else { continue };
            match self.tables[0].insert(key, entry, NOEXIST) {
                Err(error) if full(&error) => return Ok(()),
                // There or written: the kernel looks here first.
                _ => gone_is_fine(self.tables[1].remove(key)).map_err(Error::map("write", A::FLOWS[1]))?,
            }
        }
        Ok(())
    }
}
