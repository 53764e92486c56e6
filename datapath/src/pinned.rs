//! The pinned maps alone, for reading while no agent runs.

use std::path::Path;

use fairway_common::{Reason, reason::Count};

use crate::load::map_directory;
use crate::maps::Maps;
use crate::table::Image;
use crate::{Connection, Error, Pod, Timeouts, Tracker};

/// The pinned maps alone, opened for reading while no agent runs.
pub struct Pinned {
    maps: Maps,
    tracker: Tracker,
}

impl Pinned {
    /// Opens what is pinned below `pins`.
    pub fn open(pins: &Path) -> Result<Self, Error> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::Privilege { action: "open pinned BPF maps" });
        }
        Ok(Self { maps: Maps::open(&map_directory(pins))?, tracker: Tracker::open(pins)? })
    }

    /// Everything in the service table.
    pub fn image(&self) -> Result<Image, Error> {
        self.maps.image(true)
    }

    /// As [`Datapath::pods`](crate::Datapath::pods).
    pub fn pods(&self) -> Result<Vec<Pod>, Error> {
        self.maps.pods()
    }

    /// As [`Datapath::counts`](crate::Datapath::counts).
    pub fn counts(&self) -> Result<Vec<(Reason, Count)>, Error> {
        self.maps.counts()
    }

    /// As [`Datapath::events_lost`](crate::Datapath::events_lost).
    pub fn events_lost(&self) -> Result<u64, Error> {
        self.maps.events_lost()
    }

    /// As [`Datapath::connections`](crate::Datapath::connections).
    pub fn connections(&self) -> Result<Vec<Connection>, Error> {
        self.tracker.list(&Timeouts::default())
    }

    /// The tables of connections.
    pub fn tracker(&mut self) -> &mut Tracker {
        &mut self.tracker
    }
}
