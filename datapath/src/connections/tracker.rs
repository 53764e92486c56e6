//! The tables of connections by their pins, apart from the data path and its lock.

use std::collections::{HashMap as Map, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya::maps::{Array, HashMap, MapData};
use fairway_common::affinity::{Choice, Key};
use fairway_common::conntrack::Tuple;
use fairway_common::service::{Backend, Frontend, FrontendKey, backend_flags};
use fairway_common::{V4, V6, family};

use super::peers::{Socket, Translated, socket};
use super::sweep::{Over, Why, over};
use super::{Affinity, Timeouts, affinity, now, pairs, ticks};
use crate::load::map_directory;
use crate::maps::{Address, Entries, Flows, gone_is_fine, open, pin};
use crate::{Connection, Error, raw};

/// The share of a table from which on what has not begun or is over makes room.
const PRESSED: f64 = 0.9;
/// The share of a table up to which connections that found it full move into it.
const ROOM: f64 = 0.8;

/// One connection, as its client began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    /// IP protocol number.
    pub protocol: u8,
    /// The client.
    pub source: (IpAddr, u16),
    /// The Service address.
    pub frontend: (IpAddr, u16),
}

/// What one collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Collected {
    /// Connections that were silent for longer than their state allows.
    pub silent: usize,
    /// UDP flows whose backend is gone.
    pub stale: usize,
    /// How many of `stale` were IPv6.
    pub stale_v6: usize,
    /// Connections in the tables of what found conntrack full.
    pub overflow: usize,
    /// The share of the fuller table that was in use, from 0 to 1.
    pub fill: f64,
}

/// The tables of connections, affinity and translated sockets.
pub struct Tracker {
    v4: Half<V4>,
    v6: Half<V6>,
    overflowed: Array<MapData, u32>,
    affinity: HashMap<MapData, Key, Choice>,
    affinity_fd: OwnedFd,
}

struct Half<A: Address> {
    flows: Flows<A>,
    frontends: OwnedFd,
    backends: Array<MapData, Backend<A>>,
    backends_fd: OwnedFd,
    peers: OwnedFd,
}

fn descriptor(directory: &Path, name: &'static str) -> Result<OwnedFd, Error> {
    raw::get(&pin(directory, name)?).map_err(Error::io("open map", name))
}

impl Tracker {
    /// Opens what is pinned below `pins`.
    pub fn open(pins: &Path) -> Result<Self, Error> {
        let directory = &map_directory(pins);
        Ok(Self {
            v4: Half::open(directory)?,
            v6: Half::open(directory)?,
            overflowed: open(directory, "OVERFLOWED")?
                .try_into()
                .map_err(Error::map("open", "OVERFLOWED"))?,
            affinity: open(directory, "AFFINITY")?.try_into().map_err(Error::map("open", "AFFINITY"))?,
            affinity_fd: descriptor(directory, "AFFINITY")?,
        })
    }

    /// Translated connections, sorted.
    pub fn list(&self, timeouts: &Timeouts) -> Result<Vec<Connection>, Error> {
        let mut all = self.v4.list(timeouts)?;
        all.extend(self.v6.list(timeouts)?);
        all.sort();
        all.dedup_by(|a, b| (a.protocol, a.source, a.frontend) == (b.protocol, b.source, b.frontend));
        Ok(all)
    }

    /// Removes what is over, both directions; a connection that is seen meanwhile stays.
    pub fn collect(&mut self, timeouts: &Timeouts) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        self.v4.collect(timeouts, &mut collected)?;
        let stale_v4 = collected.stale;
        self.v6.collect(timeouts, &mut collected)?;
        collected.stale_v6 = collected.stale - stale_v4;
        self.note_overflow()?;
        Ok(collected)
    }

    /// Tells the kernel whether there is anything beside the tables. An entry that comes while the word is cleared is
    /// seen by the look after it, or by the next collection.
    fn note_overflow(&mut self) -> Result<(), Error> {
        let empty = |this: &Self| {
            Ok::<_, Error>(this.v4.flows.overflow_is_empty()? && this.v6.flows.overflow_is_empty()?)
        };
        let noted = self.overflowed.get(&0, 0).map_err(Error::map("read", "OVERFLOWED"))? != 0;
        let set = |this: &mut Self, value| {
            this.overflowed.set(0, value, 0).map_err(Error::map("write", "OVERFLOWED"))
        };
        match (noted, empty(self)?) {
            (true, true) => {
                set(self, 0)?;
                if empty(self)? { Ok(()) } else { set(self, 1) }
            }
            (false, false) => set(self, 1),
            _ => Ok(()),
        }
    }

    /// Ends connections; returns how many were there.
    pub fn flush(&mut self, keys: impl IntoIterator<Item = ConnectionKey>) -> Result<usize, Error> {
        let mut ended = 0;
        for key in keys {
            let there = match (key.source.0, key.frontend.0) {
                (IpAddr::V4(source), IpAddr::V4(frontend)) => {
                    self.v4.end(&key, family::v4(source), family::v4(frontend))?
                }
                (IpAddr::V6(source), IpAddr::V6(frontend)) => {
                    self.v6.end(&key, family::v6(source), family::v6(frontend))?
                }
                _ => false,
            };
            ended += usize::from(there);
        }
        Ok(ended)
    }

    /// Removes all connections of a pod that is gone.
    pub fn forget_pod(&mut self, address: IpAddr) -> Result<(), Error> {
        match address {
            IpAddr::V4(address) => self.v4.forget_pod(family::v4(address)),
            IpAddr::V6(address) => self.v6.forget_pod(family::v6(address)),
        }
    }

    fn affinity_entries(&self) -> Result<Vec<(Key, Choice)>, Error> {
        raw::read_all(self.affinity_fd.as_fd()).map_err(Error::io("read map", "AFFINITY"))
    }

    /// How long clients of each Service port keep their backend, in seconds.
    fn affinity_of_services(&self) -> Result<Map<u32, u32>, Error> {
        let mut services = Map::new();
        self.v4.affinity(&mut services)?;
        self.v6.affinity(&mut services)?;
        Ok(services)
    }

    /// The backends that clients keep, sorted.
    pub fn affinities(&self) -> Result<Vec<Affinity>, Error> {
        let services = self.affinity_of_services()?;
        let now = now();
        let row = |(key, choice): (Key, Choice)| {
            let since = ticks(now.saturating_sub(choice.since));
            let backend = if affinity::is_v6(&key) {
                self.v6.address(choice.backend, key.service)
            } else {
                self.v4.address(choice.backend, key.service)
            };
            let kept = affinity::kept(&key, &services).unwrap_or_default();
            let client = affinity::client(&key);
            Affinity { client, service: key.service, backend, since, expires: kept.saturating_sub(since) }
        };
        let mut rows: Vec<Affinity> = self.affinity_entries()?.into_iter().map(row).collect();
        rows.sort();
        Ok(rows)
    }

    /// Removes affinity that nobody needs; what is used meanwhile stays. Returns how many entries.
    pub fn collect_affinity(&mut self) -> Result<usize, Error> {
        let entries = self.affinity_entries()?;
        if entries.is_empty() {
            return Ok(0);
        }
        let services = self.affinity_of_services()?;
        let usable = |key: &Key, backend| {
            let found = if affinity::is_v6(key) {
                self.v6.address(backend, key.service)
            } else {
                self.v4.address(backend, key.service)
            };
            found.is_some()
        };
        let over = affinity::over(&entries, &services, now(), usable);
        for (key, choice) in &over {
            if self.affinity.get(key, 0).is_ok_and(|now| now == *choice) {
                gone_is_fine(self.affinity.remove(key)).map_err(Error::map("write", "AFFINITY"))?;
            }
        }
        Ok(over.len())
    }

    /// Translated sockets whose backend is gone or has become another's: those that still have one are left out.
    pub fn stranded_sockets(&self) -> Result<Vec<Socket>, Error> {
        let mut sockets = self.v4.stranded()?;
        sockets.extend(self.v6.stranded()?);
        Ok(sockets)
    }

    /// Translated sockets that were given one of these backends: Service port's id, address and port.
    pub fn sockets_of(&self, backends: &HashSet<(u32, SocketAddr)>) -> Result<Vec<Socket>, Error> {
        let has = |v6| backends.iter().any(|(_, backend)| backend.is_ipv6() == v6);
        let mut sockets = if has(false) { self.v4.sockets()? } else { Vec::new() };
        sockets.extend(if has(true) { self.v6.sockets()? } else { Vec::new() });
        sockets.retain(|socket| backends.contains(&(socket.service, socket.backend)));
        Ok(sockets)
    }

    /// Whether an id that once stood for a backend of a Service port does not any more.
    pub fn is_gone(&self, id: u32, service: u32, backend: SocketAddr) -> bool {
        let found = match backend {
            SocketAddr::V4(_) => self.v4.address(id, service),
            SocketAddr::V6(_) => self.v6.address(id, service),
        };
        found != Some(backend)
    }
}

impl<A: Address> Half<A> {
    fn open(directory: &Path) -> Result<Self, Error> {
        let [frontends, backends, ..] = A::NAMES;
        Ok(Self {
            flows: Flows::open(directory)?,
            frontends: descriptor(directory, frontends)?,
            backends: open(directory, backends)?.try_into().map_err(Error::map("open", backends))?,
            backends_fd: descriptor(directory, backends)?,
            peers: descriptor(directory, A::PEERS)?,
        })
    }

    fn list(&self, timeouts: &Timeouts) -> Result<Vec<Connection>, Error> {
        Ok(pairs::connections(&self.flows.read()?.all, now(), timeouts, A::to_ip))
    }

    fn backend(&self, id: u32) -> Option<Backend<A>> {
        self.backends.get(&id, 0).ok().filter(|backend| backend.port != 0)
    }

    /// The address of a backend that still belongs to a Service port.
    fn address(&self, id: u32, service: u32) -> Option<SocketAddr> {
        let backend = self.backend(id)?;
        let there = backend.service == service && backend.flags & backend_flags::GONE == 0;
        there.then(|| SocketAddr::new(backend.address.to_ip(), u16::from_be(backend.port)))
    }

    fn collect(&mut self, timeouts: &Timeouts, collected: &mut Collected) -> Result<(), Error> {
        let entries = self.flows.read()?;
        let fill = entries.fill();
        collected.fill = collected.fill.max(fill);
        let mut backends: Map<u32, Option<Backend<A>>> = Map::new();
        let over = over(&entries.all, now(), timeouts, fill > PRESSED, |entry| {
            // To the world leads no Service.
            if entry.service == 0 {
                return false;
            }
            let backend = backends.entry(entry.backend).or_insert_with(|| self.backend(entry.backend));
            backend.is_none_or(|backend| {
                backend.flags & backend_flags::GONE != 0
                    || backend.service != entry.service
                    || backend.port != entry.to.destination_port
                    || backend.address != entry.to.destination
            })
        });
        for over in &over {
            if self.forget(over)? {
                match over.why {
                    Why::Silent => collected.silent += 1,
                    Why::Stale => collected.stale += 1,
                }
            }
        }
        let Entries { all, in_table } = entries;
        if in_table < all.len() && fill < ROOM {
            self.flows.move_home(&all[in_table..])?;
        }
        collected.overflow += all.len() - in_table;
        Ok(())
    }

    fn forget_pod(&mut self, address: A) -> Result<(), Error> {
        for (key, entry) in self.flows.read()?.all {
            if [key.source, key.destination, entry.to.source, entry.to.destination].contains(&address) {
                self.flows.remove(&key)?;
            }
        }
        Ok(())
    }

    /// Removes a connection unless it was seen since. The reply goes first: until the original has gone too, no new
    /// connection can take its place. A packet that comes in between brings the reply back (S47).
    fn forget(&mut self, over: &Over<A>) -> Result<bool, Error> {
        for (key, entry) in over.original.iter().chain(&over.reply) {
            if self.flows.get(key)?.is_some_and(|now| now != *entry) {
                return Ok(false);
            }
        }
        if let Some((key, _)) = &over.reply {
            self.flows.remove(key)?;
        }
        let Some((key, entry)) = &over.original else { return Ok(true) };
        match (self.flows.get(key)?, &over.reply) {
            (Some(now), Some((reply_key, reply))) if now != *entry && now.to == entry.to => {
                self.flows.put_back(reply_key, reply);
                Ok(false)
            }
            (Some(now), _) if now != *entry => Ok(false),
            _ => self.flows.remove(key).map(|()| true),
        }
    }

    fn end(&mut self, key: &ConnectionKey, source: A, frontend: A) -> Result<bool, Error> {
        let key = Tuple {
            source,
            destination: frontend,
            source_port: key.source.1.to_be(),
            destination_port: key.frontend.1.to_be(),
            protocol: key.protocol,
            pad: [0; 3],
        };
        let Some(original) = self.flows.get(&key)? else { return Ok(false) };
        self.flows.remove(&original.to.reversed())?;
        self.flows.remove(&key)?;
        Ok(true)
    }

    fn affinity(&self, services: &mut Map<u32, u32>) -> Result<(), Error> {
        let frontends: Vec<(FrontendKey<A>, Frontend)> =
            raw::read_all(self.frontends.as_fd()).map_err(Error::io("read map", A::NAMES[0]))?;
        for (_, frontend) in frontends {
            let seconds = services.entry(frontend.service).or_default();
            *seconds = frontend.affinity.max(*seconds);
        }
        Ok(())
    }

    fn peers(&self) -> Result<Vec<Translated<A>>, Error> {
        raw::read_all(self.peers.as_fd()).map_err(Error::io("read map", A::PEERS))
    }

    fn sockets(&self) -> Result<Vec<Socket>, Error> {
        Ok(self.peers()?.iter().map(socket).collect())
    }

    fn stranded(&self) -> Result<Vec<Socket>, Error> {
        let peers = self.peers()?;
        if peers.is_empty() {
            return Ok(Vec::new());
        }
        let used = |_: &u32, backend: &Backend<A>| backend.port != 0;
        let backends =
            raw::read_while(self.backends_fd.as_fd(), used).map_err(Error::io("read map", A::NAMES[1]))?;
        let place = |address: A, port: u16, service: u32| (address.to_wide(), port, service);
        let there: HashSet<_> = backends
            .iter()
            .filter(|(_, backend)| backend.flags & backend_flags::GONE == 0)
            .map(|(_, backend)| place(backend.address, backend.port, backend.service))
            .collect();
        let stranded =
            |(key, peer): &&Translated<A>| !there.contains(&place(key.address, key.port, peer.service));
        Ok(peers.iter().filter(stranded).map(socket).collect())
    }
}
