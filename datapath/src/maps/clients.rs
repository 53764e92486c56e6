//! What is known of clients: the source ranges that let them in, the backends that they keep.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData};
use fairway_common::affinity::{self, Choice};
use fairway_common::{family, limits, ranges};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::half::{gone_is_fine, open, pin, write_error};
use crate::table::Range;
use crate::{Error, raw};

pub(super) struct Clients {
    ranges: LpmTrie<MapData, ranges::Source, u32>,
    affinity: HashMap<MapData, affinity::Key, Choice>,
    /// The same map, for reading in batches.
    affinity_fd: OwnedFd,
}

fn key(range: &Range) -> Key<ranges::Source> {
    let source = match range.clients {
        IpNet::V4(net) => ranges::source(range.service, family::v4(net.network())),
        IpNet::V6(net) => ranges::source(range.service, family::v6(net.network())),
    };
    Key::new(ranges::PREFIX + u32::from(range.clients.prefix_len()), source)
}

/// The other way; none for what no agent has written.
fn range(key: &Key<ranges::Source>) -> Option<Range> {
    let [word, address @ ..] = key.data();
    let length = u8::try_from(key.prefix_len().checked_sub(ranges::PREFIX)?).ok()?;
    let clients = if word & 1 == 0 {
        let address: Ipv4Addr = family::to_ipv4([address[0]]);
        Ipv4Net::new(address, length).ok()?.into()
    } else {
        let address: Ipv6Addr = family::to_ipv6(address);
        Ipv6Net::new(address, length).ok()?.into()
    };
    Some(Range { service: word >> 1, clients })
}

impl Clients {
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        Ok(Self {
            ranges: open(directory, "RANGES")?.try_into().map_err(Error::map("open", "RANGES"))?,
            affinity: open(directory, "AFFINITY")?.try_into().map_err(Error::map("open", "AFFINITY"))?,
            affinity_fd: raw::get(&pin(directory, "AFFINITY")?).map_err(Error::io("open map", "AFFINITY"))?,
        })
    }

    pub(super) fn ranges(&self) -> Result<BTreeSet<Range>, Error> {
        let keys = self.ranges.keys().collect::<Result<Vec<_>, _>>().map_err(Error::map("read", "RANGES"))?;
        Ok(keys.iter().filter_map(range).collect())
    }

    pub(super) fn put_range(&mut self, range: &Range) -> Result<(), Error> {
        let written = self.ranges.insert(&key(range), 0, 0);
        written.map_err(|error| write_error(error, "RANGES", limits::RANGES))
    }

    pub(super) fn delete_range(&mut self, range: &Range) -> Result<(), Error> {
        gone_is_fine(self.ranges.remove(&key(range))).map_err(Error::map("write", "RANGES"))
    }

    /// Forgets what the clients of a Service port had.
    pub(super) fn forget(&mut self, service: u32) -> Result<(), Error> {
        let entries: Vec<(affinity::Key, Choice)> =
            raw::read_all(self.affinity_fd.as_fd()).map_err(Error::io("read map", "AFFINITY"))?;
        for (key, _) in entries.into_iter().filter(|(key, _)| key.service == service) {
            gone_is_fine(self.affinity.remove(&key)).map_err(Error::map("write", "AFFINITY"))?;
        }
        Ok(())
    }
}
