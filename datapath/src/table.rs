//! The service table in user space's words: what it holds, and the operations that change it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;

pub use fairway_common::service::{Frontend, Run, backend_flags};

/// A frontend's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey {
    /// Service address.
    pub address: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Service port.
    pub port: u16,
}

/// A backend, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Bits of [`backend_flags`].
    pub flags: u16,
    /// The id of the Service port that the id is given to.
    pub service: u32,
}

/// A source range of a Service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The Service port's id.
    pub service: u32,
    /// Clients that are let in.
    pub clients: IpNet,
}

/// What the kernel's tables hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Frontends by key.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// Slots that a frontend's runs cover, by index: the backend's id.
    pub slots: BTreeMap<u32, u32>,
    /// All backends that were ever written, by id. Ids are unique over both families.
    pub backends: BTreeMap<u32, Backend>,
    /// Source ranges.
    pub ranges: BTreeSet<Range>,
}

/// One write. The order of writes is the caller's: backends, then slots, then the frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a backend that no slot in use names, or new flags of one that any may name.
    PutBackend {
        /// Its id.
        id: u32,
        /// The backend.
        backend: Backend,
    },
    /// Writes consecutive slots that no frontend covers.
    PutSlots {
        /// Index of the first.
        first: u32,
        /// Backend ids.
        backends: Vec<u32>,
    },
    /// Adds or replaces a frontend: the moment at which traffic changes.
    PutFrontend {
        /// Its key.
        key: FrontendKey,
        /// Its value.
        value: Frontend,
    },
    /// Removes a frontend; one that is not there is a success.
    DeleteFrontend {
        /// Its key.
        key: FrontendKey,
    },
    /// Adds a source range: before the frontend that is guarded by it.
    PutRange {
        /// The range.
        range: Range,
    },
    /// Removes a source range; one that is not there is a success.
    DeleteRange {
        /// The range.
        range: Range,
    },
    /// Forgets which backends the clients of a Service port had.
    ForgetAffinity {
        /// The Service port's id.
        service: u32,
    },
}

/// Epoch and number of a state of the cluster.
pub type StateVersion = [u64; 2];

/// Where operations go: the kernel's maps, or a model of them in tests.
pub trait Tables {
    /// What a write or read can fail with.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Reads everything back.
    fn image(&self) -> Result<Image, Self::Error>;

    /// Reads everything back while others use the tables.
    fn image_apart(tables: &Mutex<Self>) -> Result<Image, Self::Error>
    where
        Self: Sized,
    {
        tables.lock().unwrap_or_else(PoisonError::into_inner).image()
    }

    /// Does one operation.
    fn apply(&mut self, op: &Op) -> Result<(), Self::Error>;

    /// Does operations in this order; those of a kind that follow each other cost much less than one by one. After an
    /// error some of them are done.
    fn apply_all(&mut self, ops: &[Op]) -> Result<(), Self::Error> {
        ops.iter().try_for_each(|op| self.apply(op))
    }

    /// What [`Tables::begin`] was told last, by whichever process; zeros: nothing.
    fn begun(&self) -> Result<StateVersion, Self::Error>;

    /// Operations on the way to this version follow.
    fn begin(&mut self, version: StateVersion) -> Result<(), Self::Error>;
}
