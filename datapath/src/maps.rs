//! The maps by their pins: typed access for whoever may read or write.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, MapError, MapInfo as KernelMap, PerCpuArray};
use fairway_common::conntrack::{Entry, Tuple};
use fairway_common::pod::Pod as KernelPod;
use fairway_common::reason::Count;
use fairway_common::service::{Backend as KernelBackend, Frontend, FrontendKey as Key};
use fairway_common::{Family, Reason, V4, V6, family, limits};

use crate::table::{Backend, FrontendKey, Image, Op};
use crate::{Connection, Error, MapInfo, Pod, connections, raw};

/// Name, whether it is a hash, size of key and value, entries.
const LAYOUT: [(&str, bool, u32, u32, u32); 13] = [
    ("FRONTENDS4", true, 8, 24, limits::FRONTENDS),
    ("FRONTENDS6", true, 20, 24, limits::FRONTENDS),
    ("SLOTS", false, 4, 4, limits::SLOTS),
    ("BACKENDS4", false, 4, 12, limits::BACKENDS),
    ("BACKENDS6", false, 4, 24, limits::BACKENDS),
    ("PODS4", true, 4, 24, limits::PODS),
    ("PODS6", true, 16, 24, limits::PODS),
    ("CONNTRACK4", true, 16, 32, limits::CONNTRACK),
    ("CONNTRACK6", true, 40, 56, limits::CONNTRACK),
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

/// The tables of one family.
struct Half<A: Family> {
    /// The same maps, in the order of [`Address::NAMES`], for reading in batches: Aya lends no descriptor.
    fds: [OwnedFd; 4],
    frontends: HashMap<MapData, Key<A>, Frontend>,
    backends: Array<MapData, KernelBackend<A>>,
    pods: HashMap<MapData, Words<A>, KernelPod>,
    conntrack: HashMap<MapData, Tuple<A>, Entry<A>>,
}

/// An address as a map's key.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words<A>(A);

#[expect(unsafe_code, reason = "an array of 32-bit words")]
// SAFETY: `repr(transparent)` over an array of integers.
unsafe impl<A: Family> aya::Pod for Words<A> {}

/// What a family adds to its words: the address as the rest of user space has it.
trait Address: Family {
    /// The names of its tables, in the order of [`Half`]'s fields.
    const NAMES: [&'static str; 4];
    fn to_ip(self) -> IpAddr;
}

impl Address for V4 {
    const NAMES: [&'static str; 4] = ["FRONTENDS4", "BACKENDS4", "PODS4", "CONNTRACK4"];
    fn to_ip(self) -> IpAddr {
        family::to_ipv4(self).into()
    }
}

impl Address for V6 {
    const NAMES: [&'static str; 4] = ["FRONTENDS6", "BACKENDS6", "PODS6", "CONNTRACK6"];
    fn to_ip(self) -> IpAddr {
        family::to_ipv6(self).into()
    }
}

fn pin(directory: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = directory.join(name);
    if path.exists() { Ok(path) } else { Err(Error::NotPinned { path }) }
}

fn open(directory: &Path, name: &'static str) -> Result<Map, Error> {
    let data = MapData::from_pin(pin(directory, name)?).map_err(Error::map("open", name))?;
    Map::from_map_data(data).map_err(Error::map("open", name))
}

impl<A: Address> Half<A> {
    fn open(directory: &Path) -> Result<Self, Error> {
        let [frontends, backends, pods, conntrack] = A::NAMES;
        let get = |name| raw::get(&pin(directory, name)?).map_err(Error::io("open map", name));
        Ok(Self {
            fds: [get(frontends)?, get(backends)?, get(pods)?, get(conntrack)?],
            frontends: open(directory, frontends)?.try_into().map_err(Error::map("open", frontends))?,
            backends: open(directory, backends)?.try_into().map_err(Error::map("open", backends))?,
            pods: open(directory, pods)?.try_into().map_err(Error::map("open", pods))?,
            conntrack: open(directory, conntrack)?.try_into().map_err(Error::map("open", conntrack))?,
        })
    }

    fn read<K: aya::Pod, V: aya::Pod>(&self, table: usize) -> Result<Vec<(K, V)>, Error> {
        raw::read_all(self.fds[table].as_fd()).map_err(Error::io("read map", A::NAMES[table]))
    }

    fn image(&self, slots: &Array<MapData, u32>, image: &mut Image) -> Result<(), Error> {
        for (key, frontend) in self.read::<Key<A>, Frontend>(0)? {
            for run in [frontend.inside, frontend.outside] {
                for index in run.first..run.first.saturating_add(run.count) {
                    if image.slots.contains_key(&index) {
                        continue;
                    }
                    let id = slots.get(&index, 0).map_err(Error::map("read", "SLOTS"))?;
                    image.slots.insert(index, id);
                    if let std::collections::btree_map::Entry::Vacant(entry) = image.backends.entry(id) {
                        let backend = self.backends.get(&id, 0).map_err(Error::map("read", A::NAMES[1]))?;
                        entry.insert(Backend {
                            address: backend.address.to_ip(),
                            port: u16::from_be(backend.port),
                            flags: backend.flags,
                            generation: backend.generation,
                        });
                    }
                }
            }
            image.frontends.insert(
                FrontendKey {
                    address: key.address.to_ip(),
                    protocol: key.protocol,
                    port: u16::from_be(key.port),
                },
                frontend,
            );
        }
        Ok(())
    }

    fn put_backend(&mut self, id: u32, address: A, backend: &Backend) -> Result<(), Error> {
        let value = KernelBackend {
            address,
            port: backend.port.to_be(),
            flags: backend.flags,
            generation: backend.generation,
        };
        self.backends.set(id, value, 0).map_err(Error::map("write", A::NAMES[1]))
    }

    fn put_frontend(&mut self, address: A, key: &FrontendKey, value: &Frontend) -> Result<(), Error> {
        let key = Key::new(address, key.port.to_be(), key.protocol);
        self.frontends
            .insert(key, value, 0)
            .map_err(|error| write_error(error, A::NAMES[0], limits::FRONTENDS))
    }

    fn delete_frontend(&mut self, address: A, key: &FrontendKey) -> Result<(), Error> {
        let key = Key::new(address, key.port.to_be(), key.protocol);
        gone_is_fine(self.frontends.remove(&key)).map_err(Error::map("write", A::NAMES[0]))
    }

    /// The kernel programs set a bit of the value: where another value was, it may have been set since.
    fn put_pod(&mut self, address: A, pod: &Pod) -> Result<(), Error> {
        let old = self.pods.get(&Words(address), 0).ok();
        let value = KernelPod {
            ifindex: pod.ifindex,
            flags: if old.is_some() { KernelPod::TRANSLATES } else { 0 },
            pod_mac: pod.pod_mac,
            node_mac: pod.node_mac,
            pad: 0,
        };
        if old.is_some_and(|old| KernelPod { flags: value.flags, ..old } == value) {
            return Ok(());
        }
        self.pods
            .insert(Words(address), value, 0)
            .map_err(|error| write_error(error, A::NAMES[2], limits::PODS))
    }

    /// With the pod go its translated connections: the next pod of this address must not meet them.
    fn delete_pod(&mut self, address: A) -> Result<(), Error> {
        gone_is_fine(self.pods.remove(&Words(address))).map_err(Error::map("write", A::NAMES[2]))?;
        for (key, entry) in self.read::<Tuple<A>, Entry<A>>(3)? {
            if [key.source, key.destination, entry.to.source, entry.to.destination].contains(&address) {
                gone_is_fine(self.conntrack.remove(&key)).map_err(Error::map("write", A::NAMES[3]))?;
            }
        }
        Ok(())
    }

    fn pods(&self) -> Result<impl Iterator<Item = Pod> + use<A>, Error> {
        Ok(self.read::<Words<A>, KernelPod>(2)?.into_iter().map(|(address, pod)| Pod {
            address: address.0.to_ip(),
            ifindex: pod.ifindex,
            pod_mac: pod.pod_mac,
            node_mac: pod.node_mac,
        }))
    }

    fn connections(&self, all: &mut Vec<Connection>) -> Result<(), Error> {
        let entries = self.read(3)?;
        all.extend(connections::pair(&entries, connections::now(), A::to_ip));
        Ok(())
    }

    fn collect(&mut self) -> Result<usize, Error> {
        let entries = self.read(3)?;
        let silent = connections::silent(&entries, connections::now());
        for key in &silent {
            gone_is_fine(self.conntrack.remove(key)).map_err(Error::map("write", A::NAMES[3]))?;
        }
        Ok(silent.len())
    }
}

fn gone_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

fn write_error(error: MapError, map: &'static str, capacity: u32) -> Error {
    match &error {
        MapError::SyscallError(call)
            if matches!(call.io_error.raw_os_error(), Some(libc::E2BIG | libc::ENOMEM)) =>
        {
            Error::Full { map, capacity }
        }
        _ => Error::map("write", map)(error),
    }
}

/// All maps, opened by their pins.
pub(crate) struct Maps {
    directory: PathBuf,
    v4: Half<V4>,
    v6: Half<V6>,
    slots: Array<MapData, u32>,
    counts: PerCpuArray<MapData, Count>,
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
        Ok(Self {
            directory: directory.to_owned(),
            v4: Half::open(directory)?,
            v6: Half::open(directory)?,
            slots: open(directory, "SLOTS")?.try_into().map_err(Error::map("open", "SLOTS"))?,
            counts: open(directory, "COUNTS")?.try_into().map_err(Error::map("open", "COUNTS"))?,
        })
    }

    /// The event ring, opened anew.
    pub(crate) fn events(&self) -> Result<Map, Error> {
        open(&self.directory, "EVENTS")
    }

    pub(crate) fn image(&self) -> Result<Image, Error> {
        let mut image = Image::default();
        self.v4.image(&self.slots, &mut image)?;
        self.v6.image(&self.slots, &mut image)?;
        Ok(image)
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), Error> {
        match op {
            Op::PutBackend { id, backend } => {
                by_family!(self, backend.address, |half, words| half.put_backend(*id, words, backend))
            }
            Op::PutSlots { first, backends } => (*first..).zip(backends).try_for_each(|(index, id)| {
                self.slots.set(index, *id, 0).map_err(Error::map("write", "SLOTS"))
            }),
            Op::PutFrontend { key, value } => {
                by_family!(self, key.address, |half, words| half.put_frontend(words, key, value))
            }
            Op::DeleteFrontend { key } => {
                by_family!(self, key.address, |half, words| half.delete_frontend(words, key))
            }
        }
    }

    pub(crate) fn put_pod(&mut self, pod: &Pod) -> Result<(), Error> {
        by_family!(self, pod.address, |half, words| half.put_pod(words, pod))
    }

    pub(crate) fn delete_pod(&mut self, address: IpAddr) -> Result<(), Error> {
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

    pub(crate) fn connections(&self) -> Result<Vec<Connection>, Error> {
        let mut all = Vec::new();
        self.v4.connections(&mut all)?;
        self.v6.connections(&mut all)?;
        all.sort();
        Ok(all)
    }

    pub(crate) fn collect(&mut self) -> Result<usize, Error> {
        Ok(self.v4.collect()? + self.v6.collect()?)
    }

    /// What the kernel says of each map, by name.
    pub(crate) fn infos(&self) -> Result<Vec<MapInfo>, Error> {
        let mut infos = LAYOUT
            .iter()
            .map(|(name, hash, ..)| {
                let data = MapData::from_pin(self.directory.join(name)).map_err(Error::map("open", name))?;
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
}

fn kind(info: &KernelMap) -> &'static str {
    use aya::maps::MapType;
    match info.map_type() {
        Ok(MapType::Hash) => "hash",
        Ok(MapType::LruHash) => "lru-hash",
        Ok(MapType::Array) => "array",
        Ok(MapType::PerCpuArray) => "percpu-array",
        Ok(MapType::RingBuf) => "ring",
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
