//! What is known beyond this node, in the kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, MapData};
use fairway_common::network::Network as Value;
use fairway_common::{Family, family, limits, ranges};
use ipnet::IpNet;

use super::half::{gone_is_fine, open, write_error};
use crate::{Error, Network};

type Source = ranges::Source;

pub(super) struct Networks(LpmTrie<MapData, Source, Value>);

fn key(range: IpNet) -> (u32, Source) {
    let address = match range.network() {
        IpAddr::V4(address) => ranges::source(0, family::v4(address)),
        IpAddr::V6(address) => ranges::source(0, family::v6(address)),
    };
    (ranges::PREFIX + u32::from(range.prefix_len()), address)
}

fn value(network: &Network) -> Value {
    let node = u8::from(network.node);
    let Some(tunnel) = network.tunnel else { return Value { node, ..Value::default() } };
    let (tunnel, family) = match tunnel.node {
        IpAddr::V4(address) => (family::v4(address).to_wide(), 4),
        IpAddr::V6(address) => (family::v6(address), 6),
    };
    Value { tunnel, family, node, mtu: network.tunnel.map_or(0, |tunnel| tunnel.mtu) }
}

impl Networks {
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        Ok(Self(open(directory, "NETWORKS")?.try_into().map_err(Error::map("open", "NETWORKS"))?))
    }

    /// An empty table knows everything, so that nothing is taken for the world before somebody has said what is not.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        let begun = self.0.keys().next().is_some();
        let everything =
            |range: &str| Network { range: range.parse().unwrap_or_default(), tunnel: None, node: false };
        if begun { Ok(()) } else { self.set(&[everything("0.0.0.0/0"), everything("::/0")]) }
    }

    /// Makes the table exactly these. What is new comes first: nothing that stays is ever unknown.
    pub(super) fn set(&mut self, networks: &[Network]) -> Result<(), Error> {
        let wanted: BTreeMap<_, _> = networks.iter().map(|it| (key(it.range), value(it))).collect();
        let entries = self.0.iter().collect::<Result<Vec<_>, _>>().map_err(Error::map("read", "NETWORKS"))?;
        let present: BTreeMap<_, _> =
            entries.into_iter().map(|(key, value)| ((key.prefix_len(), key.data()), value)).collect();
        for ((length, address), value) in wanted.iter().filter(|(key, it)| present.get(key) != Some(it)) {
            let written = self.0.insert(&Key::new(*length, *address), value, 0);
            written.map_err(|error| write_error(error, "NETWORKS", limits::NETWORKS))?;
        }
        for (length, address) in present.keys().filter(|key| !wanted.contains_key(key)) {
            let removed = self.0.remove(&Key::new(*length, *address));
            gone_is_fine(removed).map_err(Error::map("write", "NETWORKS"))?;
        }
        Ok(())
    }
}
