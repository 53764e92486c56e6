//! Connections that are there before the measurement begins.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use aya::maps::IterableMap;
use fairway_common::conntrack::{Entry, Hop, Tuple, flags, tick};
use fairway_common::{Family, TCP, V4, V6, family};

use super::test_run;
use super::world::World;

/// Connections in rotation: 16,384 ports of clients, at four ports of a Service.
pub(crate) const FLOWS: u32 = 65_536;
/// The first port of clients, and of those that they show: a translated client has another one.
pub(crate) const CLIENTS: u16 = 1024;
pub(crate) const SHOWN: u16 = 2_048;
/// Ports of each Service, one behind the other.
pub(crate) const PORTS: u16 = 4;
/// The first port of clients whose connections are new.
pub(crate) const NEW: u16 = 32_768;

/// Connections between these ends; their flows differ in the client's port and in the Service's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connections {
    pub(crate) client: SocketAddr,
    pub(crate) frontend: SocketAddr,
    pub(crate) backend: SocketAddr,
    /// The client as the backend sees it.
    pub(crate) shown: SocketAddr,
    /// Its packets go to another node as they are: there is no other direction.
    pub(crate) direct: bool,
}

impl Connections {
    /// Writes both entries of each connection.
    pub(crate) fn write(&self, world: &World) -> Result<()> {
        if world.v4 { self.write_to(table(world), v4) } else { self.write_to(table(world), v6) }
    }

    fn write_to<A: Family>(&self, map: BorrowedFd<'_>, words: fn(IpAddr) -> A) -> Result<()>
    where
        Tuple<A>: aya::Pod,
        Entry<A>: aya::Pod,
    {
        let seen = flags::SYN | flags::DATA;
        let now = tick(uptime()?);
        let tuple = |from: SocketAddr, to: SocketAddr, (source, destination): (u16, u16)| Tuple {
            source: words(from.ip()),
            destination: words(to.ip()),
            source_port: (from.port() + source).to_be(),
            destination_port: (to.port() + destination).to_be(),
            protocol: TCP,
            pad: [0; 3],
        };
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for flow in 0..FLOWS {
            let (client, service) = ((flow & 0x3fff) as u16, (flow >> 14) as u16);
            let original = tuple(self.client, self.frontend, (client, service));
            let shown = tuple(self.shown, self.backend, (client, service));
            let sent = (original, shown, if self.direct { flags::DATA | flags::DIRECT } else { seen });
            let back = (shown.reversed(), original.reversed(), seen | flags::REPLY);
            for (key, to, flags) in [Some(sent), (!self.direct).then_some(back)].into_iter().flatten() {
                keys.push(key);
                values.push(Entry {
                    to,
                    last_seen: now,
                    flags,
                    service: 7,
                    backend: 1,
                    hop: Hop::default(),
                    sums: key.sums(&to),
                    far: A::UNSPECIFIED,
                    rest: Default::default(),
                });
            }
        }
        Ok(test_run::insert(map, &keys, &values)?)
    }
}

/// Forgets all connections of the family that is selected.
pub(crate) fn forget(world: &World) -> Result<()> {
    match world.v4 {
        true => test_run::clear::<Tuple<V4>, Entry<V4>>(table(world))?,
        false => test_run::clear::<Tuple<V6>, Entry<V6>>(table(world))?,
    }
    Ok(())
}

/// The table of the family that is selected.
fn table(world: &World) -> BorrowedFd<'_> {
    let map = if world.v4 { world.conntrack4.map() } else { world.conntrack6.map() };
    map.fd().as_fd()
}

fn v4(address: IpAddr) -> V4 {
    match address {
        IpAddr::V4(address) => family::v4(address),
        IpAddr::V6(_) => V4::default(),
    }
}

fn v6(address: IpAddr) -> V6 {
    match address {
        IpAddr::V6(address) => family::v6(address),
        IpAddr::V4(_) => V6::default(),
    }
}

/// Nanoseconds of the kernel's monotonic clock.
fn uptime() -> Result<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}
