//! A node: the loaded programs, their maps, and a network for them to look into.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use aya::maps::{HashMap, Map, MapData};
use fairway_common::conntrack::{Entry, Tuple, flags};
use fairway_common::fragment::Held;
use fairway_common::{TCP, UDP, V4, V6, affinity};
use fairway_datapath::table::{Backend, Frontend, FrontendKey, Op, Run, Tables, backend_flags};
use fairway_datapath::{Datapath, Direct, Events, Options, Pod};

use super::frame::{Body, Extra, Frame, Mac};
use super::netns::{ETH0, Network};

/// First and last source port of connections that the node sends on.
pub(crate) const NAT_PORTS: (u16, u16) = (1024, 29_999);

const BPFFS: &str = "/sys/fs/bpf";
const PREFIX: &str = "fwtest-";

pub(crate) type Conntrack<A> = HashMap<MapData, Tuple<A>, Entry<A>>;
type Affinity = HashMap<MapData, affinity::Key, affinity::Choice>;

pub(crate) struct World {
    pub(crate) datapath: Datapath,
    pub(crate) events: Events,
    pub(crate) devices: [u32; 3],
    pub(crate) nat_ports: (u16, u16),
    /// The family and protocol of the table's run.
    pub(crate) v4: bool,
    pub(crate) protocol: u8,
    pub(crate) conntrack4: Conntrack<V4>,
    pub(crate) conntrack6: Conntrack<V6>,
    pub(crate) affinity: Affinity,
    fragments4: Conntrack<V4>,
    fragments6: Conntrack<V6>,
    pub(crate) held: HashMap<MapData, Tuple<V6>, Held>,
    /// The Service port that frontends and backends are written for.
    pub(crate) id: u32,
    frontends: Vec<FrontendKey>,
    pods: Vec<IpAddr>,
    next: u32,
}

static NETWORK: LazyLock<Result<Network, String>> =
    LazyLock::new(|| Network::build().map_err(|error| format!("cannot build the network: {error:#}")));
static SHARED: LazyLock<Result<Mutex<World>, String>> = LazyLock::new(|| {
    remove_stale();
    World::load(NAT_PORTS, false).map(Mutex::new)
});

/// Runs a table for both families and both protocols.
pub(crate) fn each(test: impl Fn(&mut World)) {
    for protocol in [TCP, UDP] {
        each_family(protocol, &test);
    }
}

/// Runs a table for both families.
pub(crate) fn each_family(protocol: u8, test: impl Fn(&mut World)) {
    for v4 in [true, false] {
        let mut world = shared();
        world.begin(v4, protocol);
        let _context = Scene(v4, protocol);
        test(&mut world);
    }
}

/// Says where a failed table was.
struct Scene(bool, u8);

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let protocol = if self.1 == TCP { "TCP" } else { "UDP" };
            eprintln!("in the run for {} {protocol}", if self.0 { "IPv4" } else { "IPv6" });
        }
    }
}

/// The world that all tests share, one after the other.
fn shared() -> MutexGuard<'static, World> {
    let world = SHARED.as_ref().unwrap_or_else(|error| panic!("{error}"));
    enter();
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Moves this thread into the test network.
fn enter() -> &'static Network {
    let network = NETWORK.as_ref().unwrap_or_else(|error| panic!("{error}"));
    network.enter().expect("root may enter a namespace");
    network
}

/// Removes what a killed run left behind.
fn remove_stale() {
    for entry in std::fs::read_dir(BPFFS).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = Datapath::remove(&entry.path());
        }
    }
}

/// Pins that go when it is dropped.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = Datapath::remove(&self.0) {
            eprintln!("{error}");
        }
    }
}

fn map<K: aya::Pod, V: aya::Pod>(pins: &Path, name: &str) -> anyhow::Result<HashMap<MapData, K, V>> {
    let directory =
        std::fs::read_dir(pins)?.flatten().map(|entry| entry.path()).find(|path| path.join(name).exists());
    let path = directory.context("no maps are pinned")?.join(name);
    Ok(Map::from_map_data(MapData::from_pin(path)?)?.try_into()?)
}

impl World {
    /// Loads the programs into a world of its own. The maps stay by their descriptors: the pins are removed at once.
    pub(crate) fn load(nat_ports: (u16, u16), trace: bool) -> Result<Self, String> {
        Self::load_with(|options| (options.nat_ports, options.trace) = (nat_ports, trace))
    }

    /// The same with settings of its own.
    pub(crate) fn load_with(change: impl FnOnce(&mut Options)) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("needs root: run `sudo ./x test --suite packet`".to_owned());
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pins = Pins(format!("{BPFFS}/{PREFIX}{}-{number}", std::process::id()).into());
        let mut options = Options {
            pins: pins.0.clone(),
            node_addresses: vec!["192.168.50.1".parse().unwrap(), "fd00:50::1".parse().unwrap()],
            nat_ports: NAT_PORTS,
            sockets_of: None,
            host_netns: None,
            service_ranges: Vec::new(),
            masquerade_all: false,
            masquerade: (false, false),
            tunnel: None,
            direct: Direct::Off,
            xdp: true,
            trace: false,
        };
        change(&mut options);
        Self::open(options, enter().devices).map_err(|error| format!("cannot load the programs: {error:#}"))
    }

    fn open(options: Options, devices: [u32; 3]) -> anyhow::Result<Self> {
        let (pins, nat_ports) = (options.pins.clone(), options.nat_ports);
        let datapath = Datapath::open(options)?;
        Ok(Self {
            events: datapath.events()?,
            datapath,
            devices,
            nat_ports,
            v4: true,
            protocol: TCP,
            conntrack4: map(&pins, "CONNTRACK4")?,
            conntrack6: map(&pins, "CONNTRACK6")?,
            affinity: map(&pins, "AFFINITY")?,
            fragments4: map(&pins, "FRAGMENTS4")?,
            fragments6: map(&pins, "FRAGMENTS6")?,
            held: map(&pins, "HELD")?,
            id: 7,
            frontends: Vec::new(),
            pods: Vec::new(),
            next: 0,
        })
    }

    /// Sets what packets and addresses are made for.
    pub(crate) fn select(&mut self, v4: bool, protocol: u8) {
        (self.v4, self.protocol) = (v4, protocol);
    }

    /// Empties the connection tables.
    pub(crate) fn forget(&mut self) {
        forget(&mut self.conntrack4);
        forget(&mut self.conntrack6);
    }

    /// Empties the maps, for another table: two pods, no Services, no connections.
    pub(crate) fn begin(&mut self, v4: bool, protocol: u8) {
        self.select(v4, protocol);
        self.next = 1;
        for key in std::mem::take(&mut self.frontends) {
            self.datapath.apply(&Op::DeleteFrontend { key }).unwrap();
        }
        for address in std::mem::take(&mut self.pods) {
            self.datapath.delete_pod(address).unwrap();
        }
        self.id = 7;
        self.forget();
        forget(&mut self.affinity);
        forget(&mut self.fragments4);
        forget(&mut self.fragments6);
        forget(&mut self.held);
        self.put_pod(1);
        self.put_pod(2);
    }

    fn at(&self, v4: &str, v6: &str, port: u16) -> SocketAddr {
        SocketAddr::new(if self.v4 { v4 } else { v6 }.parse().unwrap(), port)
    }

    /// A pod of this node: 1 and 2 are there.
    pub(crate) fn pod(&self, n: u8, port: u16) -> SocketAddr {
        self.at(&format!("10.200.1.{n}"), &format!("fd00:10:200:1::{n}"), port)
    }

    /// A pod of the other node.
    pub(crate) fn remote(&self, n: u8, port: u16) -> SocketAddr {
        self.at(&format!("10.200.2.{n}"), &format!("fd00:10:200:2::{n}"), port)
    }

    /// A client in the node's network.
    pub(crate) fn client(&self, port: u16) -> SocketAddr {
        self.at("192.168.50.9", "fd00:50::9", port)
    }

    /// A host of the node's network that has not been heard of.
    pub(crate) fn unheard(&self, port: u16) -> SocketAddr {
        self.at("192.168.50.77", "fd00:50::77", port)
    }

    /// An address whose route says no.
    pub(crate) fn unreachable(&self, port: u16) -> SocketAddr {
        self.at("10.200.66.1", "fd00:10:200:66::1", port)
    }

    /// This node.
    pub(crate) fn node(&self, port: u16) -> SocketAddr {
        self.at("192.168.50.1", "fd00:50::1", port)
    }

    /// A Service's cluster address.
    pub(crate) fn service(&self, n: u8) -> SocketAddr {
        self.at(&format!("10.96.0.{n}"), &format!("fd00:10:96::{n}"), 80)
    }

    /// The first packet of a connection: a SYN, or a datagram.
    pub(crate) fn frame(&self, source: SocketAddr, destination: SocketAddr) -> Frame {
        let tcp =
            Body::Tcp { flags: fairway_common::conntrack::tcp::SYN, sequence: 1000, acknowledgment: 2000 };
        Frame {
            // To this host: what others get is not looked at.
            link: [[2, 0, 0, 0, 9, 1], ETH0],
            source,
            destination,
            ttl: 64,
            id: 7,
            extra: Extra::Nothing,
            cuttable: false,
            body: if self.protocol == TCP { tcp } else { Body::Udp { checksum: true } },
            payload: b"payload".to_vec(),
        }
    }

    /// What a connection's entry has seen after its first packet.
    pub(crate) fn first(&self) -> u32 {
        if self.protocol == TCP { flags::SYN } else { flags::DATA }
    }

    /// Link addresses on the way to a pod, source first.
    pub(crate) fn to_pod(n: u8) -> [Mac; 2] {
        [[2, 0, 0, 0, 1, n], [2, 0, 0, 0, 2, n]]
    }

    pub(crate) fn put_pod(&mut self, n: u8) {
        self.put_pod_that_is(n, false);
    }

    /// With or without a limit of what it receives.
    pub(crate) fn put_pod_that_is(&mut self, n: u8, shaped: bool) {
        let [node_mac, pod_mac] = Self::to_pod(n);
        let ifindex = self.devices.get(usize::from(n)).copied().unwrap_or(99);
        let address = self.pod(n, 0).ip();
        self.datapath.put_pod(&Pod { address, ifindex, pod_mac, node_mac, shaped }).unwrap();
        self.pods.push(address);
    }

    /// Writes a Service with backends for clients inside and outside. Backends that are pods of this node, or the node
    /// itself, are local.
    pub(crate) fn put(
        &mut self,
        frontend: SocketAddr,
        inside: &[SocketAddr],
        outside: &[SocketAddr],
        flags: u32,
    ) {
        let [inside, outside] = [inside, outside].map(|backends| self.put_run(backends));
        let service = self.id;
        self.put_frontend(frontend, Frontend { inside, outside, service, flags, ..Frontend::default() });
    }

    /// Writes backends and a run of them; its first backend has the run's first number as its id.
    pub(crate) fn put_run(&mut self, backends: &[SocketAddr]) -> Run {
        let run = Run { first: self.next, count: backends.len() as u32 };
        let ids = backends.iter().map(|backend| self.put_backend(*backend)).collect();
        self.datapath.apply(&Op::PutSlots { first: run.first, backends: ids }).unwrap();
        run
    }

    pub(crate) fn put_frontend(&mut self, frontend: SocketAddr, value: Frontend) {
        let key = FrontendKey { address: frontend.ip(), protocol: self.protocol, port: frontend.port() };
        self.datapath.apply(&Op::PutFrontend { key, value }).unwrap();
        self.frontends.push(key);
    }

    fn put_backend(&mut self, at: SocketAddr) -> u32 {
        let id = self.next;
        self.next += 1;
        self.set_backend(id, at, 0);
        id
    }

    /// Writes a backend anew, with further flags.
    pub(crate) fn set_backend(&mut self, id: u32, at: SocketAddr, flags: u16) {
        let local = [self.node(0), self.pod(1, 0), self.pod(2, 0)].iter().any(|own| own.ip() == at.ip());
        let flags = flags | if local { backend_flags::LOCAL } else { 0 };
        let backend = Backend { address: at.ip(), port: at.port(), flags, service: self.id };
        self.datapath.apply(&Op::PutBackend { id, backend }).unwrap();
    }
}

fn forget<K: aya::Pod, V: aya::Pod>(map: &mut HashMap<MapData, K, V>) {
    for key in map.keys().collect::<Result<Vec<_>, _>>().unwrap() {
        map.remove(&key).unwrap();
    }
}
