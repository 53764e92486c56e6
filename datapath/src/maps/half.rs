//! The tables of one family; the other family's are the same with longer addresses.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData, MapError};
use fairway_common::pod::Pod as KernelPod;
use fairway_common::service::{Backend as KernelBackend, Frontend, FrontendKey as Key};
use fairway_common::{Family, V4, V6, family, limits};

use super::filter::Filter;
use super::pods::{Pods, Words};
use crate::table::{Backend, FrontendKey, Image, Op};
use crate::{Error, Pod, raw};

/// The tables of one family.
pub(super) struct Half<A: Address> {
    /// The same maps, in the order of [`Address::NAMES`], for reading in batches: Aya lends no descriptor.
    fds: [OwnedFd; 3],
    frontends: HashMap<MapData, Key<A>, Frontend>,
    filter: Filter<A>,
    pods: Pods<A>,
}

/// What a family adds to its words: the address as the rest of user space has it.
pub(crate) trait Address: Family {
    /// The names of its tables, in the order of [`Half`]'s fields.
    const NAMES: [&'static str; 3];
    /// Its pods once more, by address and by device.
    const NEAR: [&'static str; 2];
    /// The filter in front of its frontends.
    const FILTER: &'static str;
    /// The table of connections, and those that found it full.
    const FLOWS: [&'static str; 2];
    /// The sockets whose peer was translated.
    const PEERS: &'static str;
    fn to_ip(self) -> IpAddr;
    /// None: an address of the other family.
    fn from_ip(address: IpAddr) -> Option<Self>;
}

impl Address for V4 {
    const NAMES: [&'static str; 3] = ["FRONTENDS4", "BACKENDS4", "PODS4"];
    const NEAR: [&'static str; 2] = ["NEAR4", "DEVICES4"];
    const FILTER: &'static str = "FILTER4";
    const FLOWS: [&'static str; 2] = ["CONNTRACK4", "OVERFLOW4"];
    const PEERS: &'static str = "PEERS4";
    fn to_ip(self) -> IpAddr {
        family::to_ipv4(self).into()
    }
    fn from_ip(address: IpAddr) -> Option<Self> {
        if let IpAddr::V4(address) = address { Some(family::v4(address)) } else { None }
    }
}

impl Address for V6 {
    const NAMES: [&'static str; 3] = ["FRONTENDS6", "BACKENDS6", "PODS6"];
    const NEAR: [&'static str; 2] = ["NEAR6", "DEVICES6"];
    const FILTER: &'static str = "FILTER6";
    const FLOWS: [&'static str; 2] = ["CONNTRACK6", "OVERFLOW6"];
    const PEERS: &'static str = "PEERS6";
    fn to_ip(self) -> IpAddr {
        family::to_ipv6(self).into()
    }
    fn from_ip(address: IpAddr) -> Option<Self> {
        if let IpAddr::V6(address) = address { Some(family::v6(address)) } else { None }
    }
}

pub(crate) fn pin(directory: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = directory.join(name);
    if path.exists() { Ok(path) } else { Err(Error::NotPinned { path }) }
}

pub(crate) fn open(directory: &Path, name: &'static str) -> Result<Map, Error> {
    let data = MapData::from_pin(pin(directory, name)?).map_err(Error::map("open", name))?;
    Map::from_map_data(data).map_err(Error::map("open", name))
}

impl<A: Address> Half<A> {
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let [frontends, backends, pods] = A::NAMES;
        let get = |name| raw::get(&pin(directory, name)?).map_err(Error::io("open map", name));
        Ok(Self {
            fds: [get(frontends)?, get(backends)?, get(pods)?],
            frontends: open(directory, frontends)?.try_into().map_err(Error::map("open", frontends))?,
            filter: Filter::open(directory)?,
            pods: Pods::open(directory)?,
        })
    }

    fn read<K: aya::Pod, V: aya::Pod>(&self, table: usize) -> Result<Vec<(K, V)>, Error> {
        raw::read_all(self.fds[table].as_fd()).map_err(Error::io("read map", A::NAMES[table]))
    }

    /// Adds frontends and backends. `all`: also backends behind a gap as no Fairway leaves one, since ids are given out in
    /// order.
    pub(super) fn image(&self, all: bool, image: &mut Image) -> Result<(), Error> {
        let used = |_: &u32, backend: &KernelBackend<A>| backend.port != 0;
        let backends = match all {
            true => raw::read_all(self.fds[1].as_fd()),
            false => raw::read_while(self.fds[1].as_fd(), used),
        };
        let backends = backends.map_err(Error::io("read map", A::NAMES[1]))?;
        for (id, backend) in backends.into_iter().filter(|(id, backend)| used(id, backend)) {
            let known = Backend {
                address: backend.address.to_ip(),
                port: u16::from_be(backend.port),
                flags: backend.flags,
                service: backend.service,
            };
            image.backends.insert(id, known);
        }
        for (key, frontend) in self.read::<Key<A>, Frontend>(0)? {
            let (address, port) = (key.address.to_ip(), u16::from_be(key.port));
            image.frontends.insert(FrontendKey { address, protocol: key.protocol, port }, frontend);
        }
        Ok(())
    }

    /// Writes the backends among these.
    pub(super) fn put_backends(&mut self, ops: &[Op]) -> Result<(), Error> {
        let entries = ops.iter().filter_map(|op| match op {
            Op::PutBackend { id, backend } => {
                let Backend { address, port, flags, service } = *backend;
                Some((
                    *id,
                    KernelBackend { address: A::from_ip(address)?, port: port.to_be(), flags, service },
                ))
            }
            _ => None,
        });
        let (ids, values): (Vec<u32>, Vec<KernelBackend<A>>) = entries.unzip();
        raw::write_all(self.fds[1].as_fd(), &ids, &values).map_err(Error::io("write map", A::NAMES[1]))
    }

    /// Writes the frontends among these.
    pub(super) fn put_frontends(&mut self, ops: &[Op]) -> Result<(), Error> {
        let entries = ops.iter().filter_map(|op| match op {
            Op::PutFrontend { key, value } => {
                Some((Key::new(A::from_ip(key.address)?, key.port.to_be(), key.protocol), *value))
            }
            _ => None,
        });
        let (keys, values): (Vec<Key<A>>, Vec<Frontend>) = entries.unzip();
        self.filter.add(&keys)?;
        raw::write_all(self.fds[0].as_fd(), &keys, &values).map_err(|error| match is_full(&error) {
            true => Error::Full { map: A::NAMES[0], capacity: limits::FRONTENDS },
            false => Error::io("write map", A::NAMES[0])(error),
        })
    }

    pub(super) fn delete_frontend(&mut self, address: A, key: &FrontendKey) -> Result<(), Error> {
        let key = Key::new(address, key.port.to_be(), key.protocol);
        gone_is_fine(self.frontends.remove(&key)).map_err(Error::map("write", A::NAMES[0]))?;
        self.filter.removed();
        Ok(())
    }

    /// Makes the filter say what it must, and no more where much is gone. `tracked`: what connections were made to.
    pub(super) fn tidy_filter(
        &mut self,
        tracked: impl FnOnce() -> Result<Vec<Key<A>>, Error>,
    ) -> Result<(), Error> {
        if !self.filter.is_stale() {
            return Ok(());
        }
        let frontends = self.read::<Key<A>, Frontend>(0)?.into_iter().map(|(key, _)| key);
        let tracked = tracked()?;
        self.filter.set(frontends.chain(tracked), false)
    }

    /// Makes what stands in front of the tables agree with them: somebody may have removed a pin while no agent ran.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        let frontends = self.read::<Key<A>, Frontend>(0)?;
        self.filter.set(frontends.into_iter().map(|(key, _)| key), true)?;
        let pods = self.read::<Words<A>, KernelPod>(2)?;
        self.pods.begin(&pods)
    }

    pub(super) fn put_pod(&mut self, address: A, pod: &Pod, was_there: bool) -> Result<(), Error> {
        self.pods.put(address, pod, was_there)
    }

    pub(super) fn delete_pod(&mut self, address: A) -> Result<bool, Error> {
        self.pods.delete(address)
    }

    pub(super) fn pods(&self) -> Result<impl Iterator<Item = Pod> + use<A>, Error> {
        Ok(self.read::<Words<A>, KernelPod>(2)?.into_iter().map(|(address, pod)| Pod {
            address: address.0.to_ip(),
            ifindex: pod.ifindex,
            pod_mac: pod.link.destination(),
            node_mac: pod.link.source(),
            shaped: pod.flags & KernelPod::SHAPED != 0,
        }))
    }
}

pub(crate) fn gone_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

pub(super) fn write_error(error: MapError, map: &'static str, capacity: u32) -> Error {
    match &error {
        MapError::SyscallError(call) if is_full(&call.io_error) => Error::Full { map, capacity },
        _ => Error::map("write", map)(error),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOMEM))
}
