//! The filter in front of one family's frontends: most packets are for none, and a bit says so.

use std::collections::BTreeMap;
use std::path::Path;

use aya::maps::{Array, MapData};
use fairway_common::limits;
use fairway_common::service::{FrontendKey, filter_bit};

use super::half::{Address, open};
use crate::Error;

/// Bits of frontends that are gone are left until there are so many.
const STALE: u32 = 4_096;

/// The filter of one family.
pub(super) struct Filter<A: Address> {
    words: Array<MapData, u64>,
    /// Frontends that were removed since the filter was made anew.
    removed: u32,
    family: std::marker::PhantomData<A>,
}

impl<A: Address> Filter<A> {
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let words = open(directory, A::FILTER)?.try_into().map_err(Error::map("open", A::FILTER))?;
        Ok(Self { words, removed: 0, family: std::marker::PhantomData })
    }

    /// Lets packets for frontends through. Before they are written.
    pub(super) fn add(&mut self, keys: &[FrontendKey<A>]) -> Result<(), Error> {
        let mut wanted: BTreeMap<u32, u64> = BTreeMap::new();
        for (word, mask) in keys.iter().map(filter_bit) {
            *wanted.entry(word).or_default() |= mask;
        }
        self.write(wanted, true)
    }

    /// A frontend was removed: its connections go on, and so its bit stays for now.
    pub(super) fn removed(&mut self) {
        self.removed += 1;
    }

    /// Whether it lets much through that is for nobody.
    pub(super) fn is_stale(&self) -> bool {
        self.removed >= STALE
    }

    /// Lets through what is for these, and nothing else unless it `keeps` what it has.
    pub(super) fn set(
        &mut self,
        keys: impl Iterator<Item = FrontendKey<A>>,
        keeps: bool,
    ) -> Result<(), Error> {
        let mut wanted = vec![0_u64; limits::FILTER as usize];
        for key in keys {
            let (word, mask) = filter_bit(&key);
            wanted[word as usize] |= mask;
        }
        self.write((0..).zip(wanted), keeps)?;
        self.removed = 0;
        Ok(())
    }

    fn write(&mut self, wanted: impl IntoIterator<Item = (u32, u64)>, keeps: bool) -> Result<(), Error> {
        for (index, bits) in wanted {
            let present = self.words.get(&index, 0).map_err(Error::map("read", A::FILTER))?;
            let bits = if keeps { bits | present } else { bits };
            if present != bits {
                self.words.set(index, bits, 0).map_err(Error::map("write", A::FILTER))?;
            }
        }
        Ok(())
    }
}
