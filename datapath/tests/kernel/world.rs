//! Where the tests run: pins, a cgroup and network namespaces of their own, which go with the test.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fairway_datapath::common::conntrack::{Entry, Hop, Sums, Tuple, flags};
use fairway_datapath::common::{V4, limits};
use fairway_datapath::{Datapath, Direct, Options};
use nix::sched::{CloneFlags, setns, unshare};

/// Shows an error with all its causes; the verifier's log only by its end.
pub(crate) fn fail(error: &dyn std::error::Error) -> ! {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        cause = error.source();
    }
    panic!("the data path does not open");
}

/// Runs `ip` in the caller's network namespace.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A directory of pins, for one test at a time: a cgroup takes in the whole process.
pub(crate) struct World {
    id: String,
    pins: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(nix::unistd::geteuid().is_root(), "loading BPF programs needs root");
        let id = format!("fairway-kernel-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let pins = Path::new("/sys/fs/bpf").join(&id);
        Self { id, pins, _alone: alone }
    }

    pub(crate) fn options(&self, trace: bool) -> Options {
        Options {
            pins: self.pins.clone(),
            node_addresses: vec!["192.168.50.1".parse().unwrap(), "fd00:50::1".parse().unwrap()],
            nat_ports: (1024, 29999),
            sockets_of: None,
            host_netns: None,
            service_ranges: Vec::new(),
            masquerade_all: false,
            masquerade: (false, false),
            tunnel: None,
            direct: Direct::Off,
            xdp: true,
            trace,
        }
    }

    /// A new cgroup below the root of the cgroup2 mount.
    pub(crate) fn cgroup(&self) -> Cgroup {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = mount.into_iter().find(|fields| fields[2] == "cgroup2").expect("cgroup2 is mounted")[1];
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let home = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        let (home, path) = (Path::new(mount).join(home), Path::new(mount).join(&self.id));
        std::fs::create_dir(&path).unwrap();
        Cgroup { home, path }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let removed = Datapath::remove(&self.pins);
        assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
    }
}

/// A cgroup, removed with its owner.
pub(crate) struct Cgroup {
    home: PathBuf,
    path: PathBuf,
}

impl Cgroup {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves this process into it.
    pub(crate) fn enter(&self) {
        std::fs::write(self.path.join("cgroup.procs"), "0").unwrap();
    }

    /// Moves this process back to where it was.
    pub(crate) fn leave(&self) {
        std::fs::write(self.home.join("cgroup.procs"), "0").unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::write(self.home.join("cgroup.procs"), "0");
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// A network namespace, which lives as long as this or a socket made in it.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Self(File::open("/proc/thread-self/ns/net").unwrap())
        };
        std::thread::scope(|scope| scope.spawn(make).join().unwrap())
    }

    /// Does something in the namespace, in a thread of its own.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Joins another namespace by a veth pair: `device` here, `eth0` with these addresses there. What is here has the
    /// node's addresses and routes to the other end.
    pub(crate) fn wire(&self, device: &str, other: &Namespace, addresses: [&str; 2]) {
        let target = format!("/proc/{}/fd/{}", std::process::id(), other.0.as_raw_fd());
        self.run(|| {
            ip(&format!("link add {device} type veth peer name eth0 netns {target}"));
            for node in ["192.168.50.1/32", "fd00:50::1/128"] {
                let options = if node.contains(':') { "nodad" } else { "" };
                ip(&format!("address add {node} dev {device} {options}"));
            }
            ip(&format!("link set {device} up"));
        });
        other.run(|| {
            ip("link set lo up");
            ip("link set eth0 up");
            for (address, node) in addresses.into_iter().zip(["192.168.50.1", "fd00:50::1"]) {
                let options = if node.contains(':') { "nodad" } else { "" };
                ip(&format!("address add {address} dev eth0 {options}"));
                ip(&format!("route add {node} dev eth0"));
                ip(&format!("route add default via {node} dev eth0"));
            }
        });
        self.run(|| {
            addresses.into_iter().for_each(|address| drop(ip(&format!("route add {address} dev {device}"))))
        });
    }

    /// A device's address.
    pub(crate) fn mac(&self, device: &str) -> [u8; 6] {
        let text = self.run(|| ip(&format!("-o link show {device}")));
        let mac = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
        let bytes: Vec<u8> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }

    /// Ids of the programs at both directions of a device, in whatever way they are attached.
    pub(crate) fn programs_at(&self, device: &str) -> Vec<u32> {
        self.run(|| {
            [aya::programs::TcAttachType::Ingress, aya::programs::TcAttachType::Egress]
                .into_iter()
                .flat_map(|direction| match aya::programs::SchedClassifier::query_tcx(device, direction) {
                    Ok((_, programs)) => programs.iter().map(|program| program.id()).collect(),
                    Err(_) => filters(device, direction),
                })
                .collect()
        })
    }
}

/// Program ids of the filters before TCX, as `tc` lists them.
fn filters(device: &str, direction: aya::programs::TcAttachType) -> Vec<u32> {
    let direction = if direction == aya::programs::TcAttachType::Ingress { "ingress" } else { "egress" };
    let output = Command::new("tc").args(["filter", "show", "dev", device, direction]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{}", text.trim_end());
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).filter(|pair| pair[0] == "id").map(|pair| pair[1].parse().unwrap()).collect()
}

/// One bpf(2) call.
#[expect(unsafe_code, reason = "what Aya does not have: detaching another's link")]
fn bpf(command: libc::c_long, attribute: [u64; 2]) -> i32 {
    // SAFETY: the address and size are those of a live value.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_ptr(), size_of_val(&attribute)) };
    assert!(result >= 0, "bpf({command}): {}", std::io::Error::last_os_error());
    result as i32
}

/// Takes both programs off a pod's device, in whatever way they are attached.
pub(crate) fn detach(pins: &Path, device: &str) {
    for (program, direction) in [("from_pod", "ingress"), ("to_pod", "egress")] {
        let pin = pins.join("links").join(format!("{program}@{device}"));
        if pin.exists() {
            let path = std::ffi::CString::new(pin.to_str().unwrap()).unwrap();
            let link = bpf(7, [path.as_ptr() as u64, 0]);
            bpf(34, [u64::from(link.cast_unsigned()), 0]);
            nix::unistd::close(link).unwrap();
        } else {
            let status =
                Command::new("tc").args(["filter", "del", "dev", device, direction]).status().unwrap();
            assert!(status.success());
        }
    }
}

fn map(pins: &Path, name: &str) -> aya::maps::Map {
    let path = pins.join(format!("v{}", limits::LAYOUT)).join(name);
    aya::maps::Map::from_map_data(aya::maps::MapData::from_pin(path).unwrap()).unwrap()
}

/// Fills the table of connections with flows that have been silent since the machine started; returns how many.
pub(crate) fn fill_conntrack(pins: &Path) -> usize {
    let mut table: aya::maps::HashMap<_, Tuple<V4>, Entry<V4>> = map(pins, "CONNTRACK4").try_into().unwrap();
    let mut full = 0;
    for index in 0.. {
        let key = Tuple {
            source: [index],
            destination: [1],
            source_port: 1,
            destination_port: 1,
            protocol: fairway_datapath::common::UDP,
            pad: [0; 3],
        };
        let entry = Entry {
            to: key,
            last_seen: 0,
            flags: flags::DATA,
            service: 0,
            backend: 0,
            hop: Hop::default(),
            sums: Sums::default(),
            far: Default::default(),
            rest: Default::default(),
        };
        if table.insert(key, entry, 0).is_err() {
            break;
        }
        full += 1;
    }
    assert_eq!(full, limits::CONNTRACK as usize);
    full
}

/// Deletes the entries of all pods.
pub(crate) fn delete_pods(pins: &Path) {
    fn all<K: aya::Pod>(map: aya::maps::Map) {
        let mut map: aya::maps::HashMap<_, K, [u32; 6]> = map.try_into().unwrap();
        let keys: Vec<K> = map.keys().collect::<Result<_, _>>().unwrap();
        keys.iter().for_each(|key| map.remove(key).unwrap());
    }
    all::<[u8; 4]>(map(pins, "PODS4"));
    all::<[u8; 16]>(map(pins, "PODS6"));
}

/// The word that says whether anything stands beside the tables.
pub(crate) fn overflowed(pins: &Path) -> u32 {
    aya::maps::Array::<_, u32>::try_from(map(pins, "OVERFLOWED")).unwrap().get(&0, 0).unwrap()
}
