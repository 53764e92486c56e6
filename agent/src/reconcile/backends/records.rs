//! What is known of each id, and which id a backend has.

use std::hash::BuildHasher;
use std::time::Instant;

use fairway_datapath::table::{Backend, backend_flags};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::{BackendKey, key_of};

/// Ids are given out in order, so there is room for so many more at a time.
const MORE: usize = 4096;

/// An id that was written at least once.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) backend: Backend,
    /// Runs that name it.
    pub(super) refs: u32,
    /// When it began to rest.
    pub(super) released: Option<Instant>,
}

impl Record {
    pub(super) fn gone(&self) -> bool {
        self.backend.flags & backend_flags::GONE != 0
    }
}

/// All records.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// By id.
    all: Vec<Option<Record>>,
    /// Ids by whose they are; the key stands in the record.
    by_key: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Records {
    pub(super) fn get(&self, id: u32) -> Option<&Record> {
        self.all.get(id as usize)?.as_ref()
    }

    /// Flags, references and times may be changed; whose the id is may not.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Record> {
        self.all.get_mut(id as usize)?.as_mut()
    }

    /// Every id and its record.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Record)> {
        (0..).zip(&self.all).filter_map(|(id, record)| Some((id, record.as_ref()?)))
    }

    /// The id that a backend has or had last.
    pub(super) fn id(&self, key: &BackendKey) -> Option<u32> {
        self.by_key.find(self.hasher.hash_one(key), |id| self.key(*id) == Some(*key)).copied()
    }

    /// Writes a record. Its backend has this id from now on, if it has no other one or that one is to be `replaced`.
    pub(super) fn put(&mut self, id: u32, record: Record, replaced: impl FnOnce(u32) -> bool) {
        self.forget(id);
        let key = key_of(&record.backend);
        let place = id as usize;
        if place >= self.all.len() {
            if place >= self.all.capacity() {
                self.all.reserve_exact(place + MORE - self.all.len());
            }
            self.all.resize(place + 1, None);
        }
        self.all[place] = Some(record);
        match self.id(&key) {
            Some(other) if !replaced(other) => return,
            Some(other) => self.unname(other, &key),
            None => {}
        }
        let Self { all, by_key, hasher } = self;
        let hash = |id: &u32| {
            let record = all.get(*id as usize).and_then(Option::as_ref);
            hasher.hash_one(record.map(|record| key_of(&record.backend)).unwrap_or(key))
        };
        by_key.insert_unique(hasher.hash_one(key), id, hash);
    }

    fn key(&self, id: u32) -> Option<BackendKey> {
        self.get(id).map(|record| key_of(&record.backend))
    }

    /// The id is nobody's.
    fn forget(&mut self, id: u32) {
        if let Some(key) = self.key(id) {
            self.unname(id, &key);
            self.all[id as usize] = None;
        }
    }

    fn unname(&mut self, id: u32, key: &BackendKey) {
        if let Ok(entry) = self.by_key.find_entry(self.hasher.hash_one(key), |known| *known == id) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(port: u16) -> Record {
        let backend = Backend { address: [10, 0, 0, 1].into(), port, flags: 0, service: 1 };
        Record { backend, refs: 0, released: None }
    }

    #[test]
    fn a_backend_has_the_id_that_it_got_last_and_an_id_has_one_backend() {
        let mut records = Records::default();
        for id in 1..2 * MORE as u32 {
            records.put(id, record(id as u16), |_| true);
        }
        assert_eq!(records.id(&key_of(&record(7).backend)), Some(7));
        records.put(7, record(60_000), |_| true);
        assert_eq!(records.id(&key_of(&record(7).backend)), None);
        assert_eq!(records.id(&key_of(&record(60_000).backend)), Some(7));
        // One that stands there twice.
        records.put(9_000, record(60_000), |_| false);
        assert_eq!(records.id(&key_of(&record(60_000).backend)), Some(7));
        records.put(9_001, record(60_000), |_| true);
        assert_eq!(records.id(&key_of(&record(60_000).backend)), Some(9_001));
        records.put(7, record(7), |_| true);
        assert_eq!(records.id(&key_of(&record(60_000).backend)), Some(9_001));
        assert_eq!(records.iter().count(), 2 * MORE - 1 + 2);
    }
}
