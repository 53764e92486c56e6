//! The pinned maps, read with no agent.

use std::path::{Path, PathBuf};

use fairway_datapath::Pinned;
use fairway_datapath::table::Frontend as Value;

use super::Drops;
use crate::error::Error;
use crate::list::{Affinity, Backend, Connection, Count, Endpoint, Frontend};
use crate::status::Status;

/// The maps below a directory on bpffs.
pub(crate) struct Kernel {
    root: PathBuf,
    maps: Pinned,
}

impl Kernel {
    /// Opens the maps.
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let maps = Pinned::open(root).map_err(|source| Error::Kernel { root: root.to_owned(), source })?;
        Ok(Self { root: root.to_owned(), maps })
    }

    fn read<T>(&self, result: Result<T, fairway_datapath::Error>) -> Result<T, Error> {
        result.map_err(|source| Error::Kernel { root: self.root.clone(), source })
    }

    pub(super) fn status(&self) -> Result<Status, Error> {
        Ok(self.read(fairway_datapath::maps(&self.root))?.into())
    }

    pub(super) fn frontends(&self) -> Result<Vec<Frontend>, Error> {
        let image = self.read(self.maps.image())?;
        // A mark of a whole address is no frontend.
        let served = image.frontends.iter().filter(|(_, value)| value.flags & Value::ADDRESS == 0);
        Ok(served.map(|(key, value)| Frontend::from_image(key, value, &image)).collect())
    }

    pub(super) fn backends(&self) -> Result<Vec<Backend>, Error> {
        Ok(Backend::from_image(&self.read(self.maps.image())?))
    }

    pub(super) fn connections(&self) -> Result<Vec<Connection>, Error> {
        Ok(self.read(self.maps.connections())?.into_iter().map(Connection::from).collect())
    }

    pub(super) fn flush(&mut self, connections: &[Connection]) -> Result<usize, Error> {
        let ended = self.maps.tracker().flush(connections.iter().filter_map(Connection::key));
        self.read(ended)
    }

    pub(super) fn affinities(&mut self) -> Result<Vec<Affinity>, Error> {
        let affinities = self.maps.tracker().affinities();
        Ok(self.read(affinities)?.into_iter().map(Affinity::from).collect())
    }

    pub(super) fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        Ok(self.read(self.maps.pods())?.into_iter().map(Endpoint::from).collect())
    }

    pub(super) fn drops(&self) -> Result<Drops, Error> {
        let counts = self.read(self.maps.counts())?;
        let counts = counts.into_iter().map(|(reason, count)| Count::new(reason, count)).collect();
        Ok(Drops { counts, events_lost: self.read(self.maps.events_lost())? })
    }
}
