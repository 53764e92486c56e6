//! What did not fit into the tables.

use std::collections::BTreeMap;
use std::fmt;

use crate::resolve::ServicePortName;

/// A table that can be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Service addresses of one family.
    Frontends,
    /// Places of backends in runs.
    Slots,
    /// Backends.
    Backends,
    /// Source ranges.
    Ranges,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Table::Frontends => "frontends",
            Table::Slots => "slots",
            Table::Backends => "backends",
            Table::Ranges => "ranges",
        })
    }
}

/// A full table. The frontends concerned keep their old state; all others go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the table `{table}` is full: {needed} entries needed, {free} free; {frontends} frontends keep their old state, \
     `{first}` among them; remove Services or endpoints, see `fairway status`"
)]
pub struct Shortage {
    /// The table.
    pub table: Table,
    /// Entries that all frontends concerned need together.
    pub needed: u64,
    /// Free entries. Slots may be free but not side by side.
    pub free: u64,
    /// How many frontends are concerned.
    pub frontends: u64,
    /// One of them, by its Service port.
    pub first: ServicePortName,
}

/// Why one frontend did not fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lack {
    pub(super) table: Table,
    pub(super) needed: u64,
    pub(super) free: u64,
    /// It will fit when freed entries have rested.
    pub(super) resting: bool,
}

/// The lacks of one plan, one entry a table.
#[derive(Debug, Default)]
pub(super) struct Shortages {
    by_table: BTreeMap<Table, Shortage>,
    waiting: bool,
}

impl Shortages {
    pub(super) fn add(&mut self, lack: Lack, name: &ServicePortName) {
        if lack.resting {
            self.waiting = true;
            return;
        }
        let shortage = self.by_table.entry(lack.table).or_insert_with(|| Shortage {
            table: lack.table,
            needed: 0,
            free: lack.free,
            frontends: 0,
            first: name.clone(),
        });
        shortage.needed += lack.needed;
        shortage.frontends += 1;
    }

    /// Some frontends only wait.
    pub(super) fn waiting(&self) -> bool {
        self.waiting
    }

    pub(super) fn into_list(self) -> Vec<Shortage> {
        self.by_table.into_values().collect()
    }
}
