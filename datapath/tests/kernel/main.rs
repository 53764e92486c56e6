//! The data path on the running kernel, whichever it is: `./x vm test` runs this binary on Linux 6.1 as well.
//!
//! Needs root. Works in network namespaces and a cgroup of its own, one test at a time.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod repair;
mod tables;
mod world;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fairway_datapath::common::{Reason, TCP, UDP};
use fairway_datapath::table::{Backend, Frontend, FrontendKey, Op, Run, Tables, backend_flags};
use fairway_datapath::{Datapath, Options, PROGRAMS, TunnelDevice};

use world::{Namespace, World};

const PORT: u16 = 80;
const TARGET: u16 = 8080;

/// A Service address of each family, with a backend; and one without.
const SERVICES: [&str; 2] = ["10.96.0.1", "fd00:96::1"];
const EMPTY: [&str; 2] = ["10.96.0.2", "fd00:96::2"];

/// Gives the Service addresses one backend each, for both protocols, and the empty ones none.
fn serve(datapath: &mut Datapath, backends: [&str; 2]) {
    for (index, backend) in backends.into_iter().enumerate() {
        let id = index as u32 + 1;
        let backend = Backend {
            address: backend.parse().unwrap(),
            port: TARGET,
            flags: backend_flags::LOCAL,
            service: id,
        };
        datapath.apply(&Op::PutBackend { id, backend }).unwrap();
        datapath.apply(&Op::PutSlots { first: id, backends: vec![id] }).unwrap();
        for (address, count) in [(SERVICES[index], 1), (EMPTY[index], 0)] {
            let run = Run { first: id, count };
            for protocol in [TCP, UDP] {
                let key = FrontendKey { address: address.parse().unwrap(), protocol, port: PORT };
                let value =
                    Frontend { inside: run, outside: run, service: id, flags: 0, ..Frontend::default() };
                datapath.apply(&Op::PutFrontend { key, value }).unwrap();
            }
        }
    }
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let address = SocketAddr::new(address.parse().unwrap(), PORT);
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// Says a word and expects it back.
fn echo(stream: &mut TcpStream) {
    stream.write_all(b"word").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"word");
}

/// Answers every connection and datagram with what it says, for as long as the test runs.
fn answer(address: &str) {
    let address = SocketAddr::new(address.parse().unwrap(), TARGET);
    let listener = TcpListener::bind(address).unwrap();
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..length], from).unwrap();
        }
    });
}

/// What a datagram to a Service comes back from.
fn datagram(service: &str) -> SocketAddr {
    let service = SocketAddr::new(service.parse().unwrap(), PORT);
    let any: IpAddr = if service.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(b"word", service).unwrap();
    let (length, from) = socket.recv_from(&mut [0; 64]).unwrap();
    assert_eq!(length, 4);
    from
}

fn count(datapath: &Datapath, reason: Reason) -> u64 {
    datapath.counts().unwrap().into_iter().find(|(other, _)| *other == reason).unwrap().1.packets
}

/// Reads events until one has this reason.
fn expect_event(datapath: &Datapath, reason: Reason) {
    let mut events = datapath.events().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        match events.next_event() {
            Some(event) if event.reason == reason as u8 => return,
            Some(_) => {}
            None => std::thread::yield_now(),
        }
    }
    panic!("no event `{}`", reason.name());
}

#[test]
fn every_program_loads_with_and_without_tracing() {
    let world = World::new();
    for trace in [false, true] {
        let tunnel = Some(TunnelDevice { ifindex: 1, id: 1, port: 4789 });
        let options = Options { tunnel, masquerade: (true, true), ..world.options(trace) };
        let datapath = Datapath::open(options).unwrap_or_else(|error| world::fail(&error));
        let programs = datapath.programs().unwrap();
        assert_eq!(programs.len(), PROGRAMS.len());
        println!("\n{:<16}{:>14}{:>10}   tracing: {trace}", "program", "instructions", "bytes");
        for program in programs {
            println!("{:<16}{:>14}{:>10}", program.name, program.verified_instructions, program.memory);
        }
    }
}

// S15, S31
#[test]
fn sockets_of_a_cgroup_are_translated_refused_and_shown_the_service() {
    let world = World::new();
    let node = Namespace::new();
    let mut datapath = Datapath::open(world.options(true)).unwrap_or_else(|error| world::fail(&error));
    serve(&mut datapath, ["127.0.0.1", "::1"]);
    let cgroup = world.cgroup();
    datapath.attach_sockets(cgroup.path()).unwrap();
    // Again, by the next agent: the pinned links get its programs.
    drop(datapath);
    let mut datapath = Datapath::open(world.options(true)).unwrap();
    datapath.attach_sockets(cgroup.path()).unwrap();
    cgroup.enter();
    node.run(|| {
        world::ip("link set lo up");
        answer("127.0.0.1");
        answer("::1");
        for (service, empty) in SERVICES.into_iter().zip(EMPTY) {
            let mut stream = connect(service).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), SocketAddr::new(service.parse().unwrap(), PORT));
            echo(&mut stream);
            assert_eq!(connect(empty).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            assert_eq!(datagram(service), SocketAddr::new(service.parse().unwrap(), PORT));
        }
    });
    cgroup.leave();
    assert_eq!(datapath.programs().unwrap().iter().filter(|program| !program.attached.is_empty()).count(), 8);
    assert_eq!(count(&datapath, Reason::SocketTranslated), 4);
    assert_eq!(count(&datapath, Reason::NoBackend), 2);
    expect_event(&datapath, Reason::SocketTranslated);
    assert_eq!(datapath.image().unwrap().frontends.len(), 8);
}

/// A node with a client pod, a backend pod, and a client outside.
struct Network {
    node: Namespace,
    client: Namespace,
    backend: Namespace,
    outside: Namespace,
}

impl Network {
    fn new() -> Self {
        let [node, client, backend, outside] = std::array::from_fn(|_| Namespace::new());
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            node.run(|| std::fs::write(format!("/proc/sys/net/{setting}"), "1")).unwrap();
        }
        node.wire("pod1", &client, ["10.244.0.11", "fd00:244::11"]);
        node.wire("pod2", &backend, ["10.244.0.12", "fd00:244::12"]);
        node.wire("net0", &outside, ["192.168.50.9", "fd00:50::9"]);
        backend.run(|| ["10.244.0.12", "fd00:244::12"].into_iter().for_each(answer));
        Self { node, client, backend, outside }
    }

    fn attach(&self, datapath: &mut Datapath) {
        self.node.run(|| {
            datapath.attach_network("net0").unwrap();
            datapath.attach_pod("pod1").unwrap();
            datapath.attach_pod("pod2").unwrap();
        });
    }

    fn put_pods(&self, datapath: &mut Datapath) {
        for (device, pod, addresses) in [
            ("pod1", &self.client, ["10.244.0.11", "fd00:244::11"]),
            ("pod2", &self.backend, ["10.244.0.12", "fd00:244::12"]),
        ] {
            for address in addresses {
                let pod = fairway_datapath::Pod {
                    address: address.parse().unwrap(),
                    ifindex: self.node.run(|| nix::net::if_::if_nametoindex(device)).unwrap(),
                    pod_mac: pod.mac("eth0"),
                    node_mac: self.node.mac(device),
                    shaped: false,
                };
                datapath.put_pod(&pod).unwrap();
            }
        }
        assert_eq!(datapath.pods().unwrap().len(), 4);
    }
}

// S12, S31, S82
#[test]
fn packets_are_translated_at_devices_and_the_next_agent_takes_the_programs_over() {
    let world = World::new();
    let network = Network::new();
    let mut datapath = Datapath::open(world.options(false)).unwrap_or_else(|error| world::fail(&error));
    serve(&mut datapath, ["10.244.0.12", "fd00:244::12"]);
    network.put_pods(&mut datapath);
    network.attach(&mut datapath);
    let method =
        datapath.programs().unwrap().iter().find(|program| program.name == "from_pod").unwrap().method;
    println!("\ndevices: {method}");
    let mut streams = Vec::new();
    for (service, empty) in SERVICES.into_iter().zip(EMPTY) {
        for from in [&network.client, &network.outside] {
            from.run(|| {
                let mut stream = connect(service).unwrap();
                echo(&mut stream);
                streams.push(stream);
                assert_eq!(connect(empty).unwrap_err().kind(), ErrorKind::ConnectionRefused);
                assert_eq!(datagram(service), SocketAddr::new(service.parse().unwrap(), PORT));
            });
        }
    }
    assert_eq!(datapath.connections().unwrap().len(), 8);
    assert_eq!(count(&datapath, Reason::NoBackend), 4);

    // The next agent: its programs replace these ones, without a second filter and without a gap.
    let before = network.node.programs_at("pod1");
    drop(datapath);
    let mut datapath = Datapath::open(world.options(false)).unwrap();
    network.attach(&mut datapath);
    let after = network.node.programs_at("pod1");
    assert_eq!((before.len(), after.len()), (2, 2), "{before:?} {after:?}");
    assert!(after.iter().all(|id| !before.contains(id)), "{before:?} {after:?}");
    streams.iter_mut().for_each(echo);

    let shared = Mutex::new(datapath);
    network.node.run(|| Datapath::set_tracing(&shared, true)).unwrap();
    let datapath = shared.into_inner().unwrap();
    let traced = network.node.programs_at("pod1");
    assert!(traced.len() == 2 && traced.iter().all(|id| !after.contains(id)), "{after:?} {traced:?}");
    streams.iter_mut().for_each(echo);
    expect_event(&datapath, Reason::Translated);
    let conntrack = fairway_datapath::maps(&world.options(false).pins)
        .unwrap()
        .into_iter()
        .find(|map| map.name == "CONNTRACK4")
        .unwrap();
    assert_eq!(conntrack.entries, Some(8));
}
