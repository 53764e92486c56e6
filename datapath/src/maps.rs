//! The maps by their pins: typed access for whoever may read or write.

mod clients;
mod filter;
mod flows;
mod half;
mod networks;
mod pods;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Array, IterableMap, Map, MapData, MapInfo as KernelMap, PerCpuArray};
use fairway_common::conntrack::{Tuple, flags};
use fairway_common::reason::Count;
use fairway_common::service::FrontendKey;
use fairway_common::{Reason, V4, V6, family, limits};

use self::clients::Clients;
pub(crate) use self::flows::{Entries, Flows};
use self::half::Half;
pub(crate) use self::half::{Address, gone_is_fine, open, pin};
use self::networks::Networks;
use crate::connections::Keyed;
use crate::load::map_directory;
use crate::repair::{Repair, What};
use crate::table::{Frontend, Image, Op, StateVersion};
use crate::{Error, MapInfo, Network, Pod, raw};

/// Name, whether it is a hash, size of key and value, entries.
const LAYOUT: [(&str, bool, u32, u32, u32); 29] = [
    ("FRONTENDS4", true, 8, 32, limits::FRONTENDS),
    ("FRONTENDS6", true, 20, 32, limits::FRONTENDS),
    ("FILTER4", false, 4, 8, limits::FILTER),
    ("FILTER6", false, 4, 8, limits::FILTER),
    ("SLOTS", false, 4, 4, limits::SLOTS),
    ("BACKENDS4", false, 4, 12, limits::BACKENDS),
    ("BACKENDS6", false, 4, 24, limits::BACKENDS),
    ("PODS4", true, 4, 24, limits::PODS),
    ("PODS6", true, 16, 24, limits::PODS),
    ("NEAR4", false, 4, 28, limits::NEAR),
    ("NEAR6", false, 4, 40, limits::NEAR),
    ("DEVICES4", false, 4, 12, limits::DEVICES),
    ("DEVICES6", false, 4, 24, limits::DEVICES),
    ("CONNTRACK4", true, 16, 64, limits::CONNTRACK),
    ("CONNTRACK6", true, 40, 104, limits::CONNTRACK),
    ("OVERFLOW4", true, 16, 64, limits::OVERFLOW),
    ("OVERFLOW6", true, 40, 104, limits::OVERFLOW),
    ("OVERFLOWED", false, 4, 4, 1),
    ("VERSION", false, 4, 16, 1),
    ("FRAGMENTS4", true, 16, 64, limits::FRAGMENTS),
    ("FRAGMENTS6", true, 40, 104, limits::FRAGMENTS),
    ("HELD", true, 40, 2072, limits::HELD),
    ("AFFINITY", true, 24, 8, limits::AFFINITY),
    ("RANGES", true, 24, 4, limits::RANGES),
    ("NETWORKS", true, 24, 20, limits::NETWORKS),
    ("PEERS4", true, 16, 12, limits::PEERS),
    ("PEERS6", true, 28, 24, limits::PEERS),
    ("COUNTS", false, 4, 16, limits::COUNTS),
    ("EVENTS", false, 0, 0, limits::EVENT_BYTES),
];

/// Refuses pinned maps of another shape: the kernel would let them be used, and every value would be misread.
pub(crate) fn check_layout(directory: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(directory).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied if !nix::unistd::geteuid().is_root() => {
            Error::Privilege { action: "create BPF pins" }
        }
        _ => Error::NoBpffs { path: directory.to_owned() },
    })?;
    let kind = nix::sys::statfs::statfs(directory)
        .map_err(|error| Error::io("inspect", directory)(error.into()))?
        .filesystem_type();
    if kind != nix::sys::statfs::BPF_FS_MAGIC {
        return Err(Error::NoBpffs { path: directory.to_owned() });
    }
    for (name, _, key, value, entries) in LAYOUT {
        let path = directory.join(name);
        let info = match KernelMap::from_pin(&path) {
            Ok(info) => info,
            Err(_) if !path.exists() => continue,
            Err(error) => return Err(Error::map("open", name)(error)),
        };
        let shape = [
            ("key size", info.key_size(), key),
            ("value size", info.value_size(), value),
            ("entries", info.max_entries(), entries),
        ];
        for (what, found, wanted) in shape {
            if found != wanted {
                let (found, wanted) = (found.into(), wanted.into());
                return Err(Error::Layout { path, what, found, wanted });
            }
        }
    }
    Ok(())
}

/// All maps, opened by their pins.
pub(crate) struct Maps {
    directory: PathBuf,
    v4: Half<V4>,
    v6: Half<V6>,
    slots: Array<MapData, u32>,
    clients: Clients,
    networks: Networks,
    counts: PerCpuArray<MapData, Count>,
    version: Array<MapData, StateVersion>,
    /// Every map once more, so that a pin that somebody removed can be made again.
    held: Vec<OwnedFd>,
}

/// Runs one expression on the half that an address belongs to.
macro_rules! by_family {
    ($maps:expr, $address:expr, |$half:ident, $words:ident| $body:expr) => {
        match $address {
            IpAddr::V4(address) => {
                let ($half, $words) = (&mut $maps.v4, family::v4(address));
                $body
            }
            IpAddr::V6(address) => {
                let ($half, $words) = (&mut $maps.v6, family::v6(address));
                $body
            }
        }
    };
}

impl Maps {
    /// Opens what is pinned in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let hold = |(name, ..): &(&'static str, bool, u32, u32, u32)| {
            raw::get(&pin(directory, name)?).map_err(Error::io("open map", *name))
        };
        Ok(Self {
            directory: directory.to_owned(),
            held: LAYOUT.iter().map(hold).collect::<Result<_, _>>()?,
            v4: Half::open(directory)?,
            v6: Half::open(directory)?,
            slots: open(directory, "SLOTS")?.try_into().map_err(Error::map("open", "SLOTS"))?,
            clients: Clients::open(directory)?,
            networks: Networks::open(directory)?,
            counts: open(directory, "COUNTS")?.try_into().map_err(Error::map("open", "COUNTS"))?,
            version: open(directory, "VERSION")?.try_into().map_err(Error::map("open", "VERSION"))?,
        })
    }

    /// Pins again what somebody unpinned or replaced: the same maps, with all that they hold.
    pub(crate) fn repair(&self, repaired: &mut Vec<Repair>, failed: &mut Vec<Error>) {
        for ((name, ..), map) in LAYOUT.iter().zip(&self.held) {
            let path = self.directory.join(name);
            if raw::is_pinned(map, &path) {
                continue;
            }
            match raw::pin_again(map, &path) {
                Ok(()) => repaired.push(Repair { what: What::MapPin, subject: (*name).to_owned() }),
                Err(error) => failed.push(Error::io("pin map", path)(error)),
            }
        }
    }

    /// The event ring, opened anew.
    pub(crate) fn events(&self) -> Result<Map, Error> {
        open(&self.directory, "EVENTS")
    }

    /// Everything; or only what an agent wrote (not `all`), at a small part of the cost.
    pub(crate) fn image(&self, all: bool) -> Result<Image, Error> {
        let mut image = Image::default();
        self.v4.image(all, &mut image)?;
        self.v6.image(all, &mut image)?;
        image.slots = self.covered_slots(image.frontends.values())?;
        image.ranges = self.clients.ranges()?;
        Ok(image)
    }

    /// The slots that frontends name, read up to the last of them.
    fn covered_slots<'a>(
        &self,
        frontends: impl Iterator<Item = &'a Frontend> + Clone,
    ) -> Result<BTreeMap<u32, u32>, Error> {
        let runs = frontends.flat_map(|frontend| [frontend.inside, frontend.outside]);
        let runs = runs.map(|run| run.first..run.first.saturating_add(run.count));
        let end = runs.clone().filter(|run| !run.is_empty()).map(|run| run.end).max().unwrap_or(0);
        let slots = if end == 0 {
            Vec::new()
        } else {
            raw::read_while(self.slots.map().fd().as_fd(), |index: &u32, _: &u32| *index < end)
                .map_err(Error::io("read map", "SLOTS"))?
        };
        let within =
            |run: std::ops::Range<u32>| slots.get(run.start as usize..(run.end as usize).min(slots.len()));
        Ok(runs.filter_map(within).flatten().copied().collect())
    }

    /// Writes in this order. What goes to one map in one go is one call.
    pub(crate) fn apply(&mut self, ops: &[Op]) -> Result<(), Error> {
        let together = |one: &Op, next: &Op| table(one).is_some() && table(one) == table(next);
        ops.chunk_by(together).try_for_each(|ops| match &ops[0] {
            Op::PutBackend { backend, .. } => {
                by_family!(self, backend.address, |half, _words| half.put_backends(ops))
            }
            Op::PutSlots { .. } => self.put_slots(ops),
            Op::PutFrontend { key, .. } => {
                by_family!(self, key.address, |half, _words| half.put_frontends(ops))
            }
            Op::DeleteFrontend { key } => {
                by_family!(self, key.address, |half, words| half.delete_frontend(words, key))
            }
            Op::PutRange { range } => self.clients.put_range(range),
            Op::DeleteRange { range } => self.clients.delete_range(range),
            Op::ForgetAffinity { service } => self.clients.forget(*service),
        })
    }

    fn put_slots(&mut self, ops: &[Op]) -> Result<(), Error> {
        let runs = ops.iter().filter_map(|op| match op {
            Op::PutSlots { first, backends } => Some((*first..).zip(backends.iter().copied())),
            _ => None,
        });
        let (indices, ids): (Vec<u32>, Vec<u32>) = runs.flatten().unzip();
        raw::write_all(self.slots.map().fd().as_fd(), &indices, &ids).map_err(Error::io("write map", "SLOTS"))
    }

    pub(crate) fn begun(&self) -> Result<StateVersion, Error> {
        self.version.get(&0, 0).map_err(Error::map("read", "VERSION"))
    }

    pub(crate) fn begin_version(&mut self, version: StateVersion) -> Result<(), Error> {
        self.version.set(0, version, 0).map_err(Error::map("write", "VERSION"))
    }

    pub(crate) fn put_pod(&mut self, pod: &Pod) -> Result<(), Error> {
        by_family!(self, pod.address, |half, words| half.put_pod(words, pod, false))
    }

    /// Writes pods again whose entries somebody changed or deleted.
    pub(crate) fn repair_pods<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a Pod>,
        repaired: &mut Vec<Repair>,
        failed: &mut Vec<Error>,
    ) {
        let found: BTreeMap<IpAddr, Pod> = match self.pods() {
            Ok(pods) => pods.into_iter().map(|pod| (pod.address, pod)).collect(),
            Err(error) => return failed.push(error),
        };
        for pod in wanted.filter(|pod| found.get(&pod.address) != Some(pod)) {
            match by_family!(self, pod.address, |half, words| half.put_pod(words, pod, true)) {
                Ok(()) => repaired.push(Repair { what: What::Pod, subject: pod.address.to_string() }),
                Err(error) => failed.push(error),
            }
        }
    }

    /// Makes what the kernel looks at first agree with the tables behind.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.v4.begin()?;
        self.v6.begin()?;
        self.networks.begin()
    }

    /// Lets the filters forget frontends that are gone, and have no connections any more.
    pub(crate) fn tidy(&mut self) -> Result<(), Error> {
        self.v4.tidy_filter(|| tracked(&self.held))?;
        self.v6.tidy_filter(|| tracked(&self.held))
    }

    pub(crate) fn set_networks(&mut self, networks: &[Network]) -> Result<(), Error> {
        self.networks.set(networks)
    }

    pub(crate) fn delete_pod(&mut self, address: IpAddr) -> Result<bool, Error> {
        by_family!(self, address, |half, words| half.delete_pod(words))
    }

    pub(crate) fn pods(&self) -> Result<Vec<Pod>, Error> {
        let mut pods: Vec<Pod> = self.v4.pods()?.chain(self.v6.pods()?).collect();
        pods.sort_by_key(|pod| pod.address);
        Ok(pods)
    }

    fn count(&self, index: u32) -> Result<Count, Error> {
        let values = self.counts.get(&index, 0).map_err(Error::map("read", "COUNTS"))?;
        Ok(values.iter().fold(Count::default(), |sum, count| Count {
            packets: sum.packets + count.packets,
            bytes: sum.bytes + count.bytes,
        }))
    }

    pub(crate) fn counts(&self) -> Result<Vec<(Reason, Count)>, Error> {
        Reason::ALL.iter().map(|reason| Ok((*reason, self.count(*reason as u32)?))).collect()
    }

    pub(crate) fn events_lost(&self) -> Result<u64, Error> {
        Ok(self.count(limits::COUNTS - 1)?.packets)
    }
}

/// Which map a write goes to, of those that take many at once.
fn table(op: &Op) -> Option<(u8, bool)> {
    match op {
        Op::PutBackend { backend, .. } => Some((0, backend.address.is_ipv4())),
        Op::PutSlots { .. } => Some((1, true)),
        Op::PutFrontend { key, .. } => Some((2, key.address.is_ipv4())),
        _ => None,
    }
}

/// The frontends that connections were made to.
fn tracked<A: Address>(held: &[OwnedFd]) -> Result<Vec<FrontendKey<A>>, Error> {
    let key = |tuple: &Tuple<A>| FrontendKey::new(tuple.destination, tuple.destination_port, tuple.protocol);
    let mut keys = Vec::new();
    for ((name, ..), map) in LAYOUT.iter().zip(held).filter(|((name, ..), _)| A::FLOWS.contains(name)) {
        let entries: Vec<Keyed<A>> = raw::read_all(map.as_fd()).map_err(Error::io("read map", *name))?;
        let original =
            entries.iter().filter(|(_, entry)| entry.flags & flags::REPLY == 0 && entry.service != 0);
        keys.extend(original.map(|(tuple, _)| key(tuple)));
    }
    Ok(keys)
}

/// What the kernel says of each map that is pinned below `pins`, by name. Counts entries by reading them, without any lock.
pub fn maps(pins: &Path) -> Result<Vec<MapInfo>, Error> {
    let directory = map_directory(pins);
    let mut infos = LAYOUT
        .iter()
        .map(|(name, hash, ..)| {
            let data = MapData::from_pin(directory.join(name)).map_err(Error::map("open", name))?;
            let info = data.info().map_err(Error::map("read", name))?;
            let entries = if *hash { Some(count_keys(&data, name)?) } else { None };
            Ok(MapInfo {
                name,
                kind: kind(&info),
                entries,
                capacity: info.max_entries().into(),
                memory: memory(&data),
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    infos.sort_by_key(|info| info.name);
    Ok(infos)
}

fn kind(info: &KernelMap) -> &'static str {
    use aya::maps::MapType;
    match info.map_type() {
        Ok(MapType::Hash) => "hash",
        Ok(MapType::LruHash) => "lru-hash",
        Ok(MapType::Array) => "array",
        Ok(MapType::PerCpuArray) => "percpu-array",
        Ok(MapType::RingBuf) => "ring",
        Ok(MapType::LpmTrie) => "lpm-trie",
        _ => "other",
    }
}

fn count_keys(data: &MapData, name: &'static str) -> Result<u64, Error> {
    let (.., key, value, _) = *LAYOUT.iter().find(|row| row.0 == name).unwrap_or(&LAYOUT[0]);
    raw::count(data.fd().as_fd(), key as usize, value as usize).map_err(Error::io("read map", name))
}

/// The kernel's own account of a map's memory, in bytes; 0 where it keeps none.
fn memory(data: &MapData) -> u64 {
    let fd = data.fd().as_fd().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}
