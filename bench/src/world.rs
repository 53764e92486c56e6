//! A peer's own world: two nodes, pods that serve on each, a pod and a machine outside that ask.

mod flush;
mod haproxy;
mod place;
mod pods;
mod tunnels;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fairway_tests::lab::{Families, Lab, Owner, Running, SocketLb, State, up};
use fairway_tests::peer::{load_iptables, load_nftables};
use ipnet::IpNet;

use crate::cell::{Cpus, Family, From, Routing};
use crate::load::{Recorded, Workload};
use crate::peer::Peer;
use crate::services::{Measured, Pods, Set};

/// How long a peer may take until it serves what it was given.
const SERVED: Duration = Duration::from_secs(300);

/// Why a peer cannot be measured, or not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// Not on this machine; the reason stands in the report.
    #[error("{0}")]
    Missing(String),
    /// The lab.
    #[error("the network of namespaces does not come up")]
    Up(#[from] fairway_tests::lab::UpError),
    /// Rules.
    #[error("the rules cannot be loaded")]
    Rules(#[from] fairway_tests::peer::PeerError),
    /// A file, a process, a namespace.
    #[error("cannot {what}")]
    Io {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The client ended with an error.
    #[error("the client failed: {0}")]
    Client(String),
    /// A Service is not served.
    #[error("not served: {0}")]
    NotServed(String),
}

/// How worlds are built.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// IPv6 too.
    pub v6: bool,
    /// Ports that each pod serves.
    pub ports: u32,
    /// Priority of client, server and proxies in user space.
    pub nice: Option<i32>,
    /// CPUs of the client and of the server.
    pub cpus: (usize, usize),
    /// How packets reach the other node's pods.
    pub routing: Routing,
}

/// How one block is run.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Not counted.
    pub warmup: Duration,
    /// Counted.
    pub duration: Duration,
    /// Operations a second; none: a closed loop.
    pub rate: Option<f64>,
}

/// A peer with its network.
#[derive(Debug)]
pub struct World {
    /// Whose.
    pub peer: Peer,
    lab: Running,
    settings: Settings,
    haproxy: Option<haproxy::Haproxy>,
    /// CPUs that the servers run on now.
    placed: Option<Cpus>,
}

impl World {
    /// Builds the network, and for peers other than Fairway takes Fairway out of it.
    ///
    /// # Errors
    /// [`WorldError::Missing`] when the machine has not what the peer needs.
    pub fn build(peer: Peer, settings: Settings) -> Result<Self, WorldError> {
        missing(peer)?;
        let id = format!("bench-{}-{}", std::process::id(), number(peer));
        let source = std::env::temp_dir().join(format!("fairway-{id}.yaml"));
        let write = || fs::write(&source, pods::manifests(&settings)?);
        write().map_err(|source| io_error("write the manifests of the pods", source))?;
        let families = if settings.v6 { Families::Dual } else { Families::Ipv4 };
        let socket_lb = if peer == Peer::FairwayTc { SocketLb::Off } else { SocketLb::All };
        let mut state = State::new(&id, &source, 2, families, socket_lb);
        state.owner = Owner::of(std::process::id());
        state.settings.insert("routing".into(), settings.routing.name().into());
        let lab = up(state, &mut |_| {});
        fs::remove_file(&source).ok();
        let lab = Running::new(lab?);
        if !peer.is_fairway() {
            lab.without_agents().map_err(|source| io_error("take Fairway out of the network", source))?;
            if settings.routing == Routing::Vxlan {
                tunnels::join(&lab).map_err(|source| io_error("join the nodes by a tunnel", source))?;
            }
        }
        let world = Self { peer, lab, settings, haproxy: None, placed: None };
        world.lead().map_err(|source| io_error("lead the client to the pods", source))?;
        Ok(world)
    }

    /// The lab that it is built of.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Without a proxy the client outside asks pods directly, through the first node, as all others do.
    fn lead(&self) -> io::Result<()> {
        let plan = self.lab.state.plan;
        // A router that sends packets back where they came from would tell the client a shorter way.
        let quiet = ["net/ipv4/conf/all/send_redirects=0", "net/ipv4/conf/eth0/send_redirects=0"];
        self.lab.set_sysctls("node1", &quiet)?;
        if self.peer != Peer::Clean {
            return Ok(());
        }
        for range in [plan.pod_cidrs(1), plan.pod_cidrs(2)].concat() {
            let via =
                plan.node(1).iter().map(IpNet::addr).find(|via| via.is_ipv4() == range.addr().is_ipv4());
            if let Some(via) = via {
                self.lab.route("client", range, via)?;
            }
        }
        Ok(())
    }

    /// The address of the node that is asked.
    ///
    /// # Panics
    /// Never: a node has an address of each family of its lab.
    #[must_use]
    pub fn node(&self, family: Family) -> IpAddr {
        let all = self.lab.state.plan.node(1);
        let wanted = |net: &&IpNet| net.addr().is_ipv4() == (family == Family::V4);
        all.iter().find(wanted).expect("a node has an address of each family of its lab").addr()
    }

    /// The pods that serve.
    ///
    /// # Errors
    /// The lab does not answer.
    pub fn pods(&self, family: Family) -> Result<Pods, WorldError> {
        let status = self.lab.status().map_err(|source| io_error("ask the lab for its pods", source))?;
        let of = |node: &str| -> Vec<IpAddr> {
            let pods = status.pods.iter().filter(|pod| pod.node == node && pod.name.contains("/serve"));
            let of_family = |address: &IpAddr| address.is_ipv4() == (family == Family::V4);
            pods.filter_map(|pod| pod.addresses.iter().copied().find(of_family)).collect()
        };
        Ok(Pods { near: of("node1"), far: of("node2") })
    }

    /// Gives the peer its Services; returns when the last of them is served and the peer has come to rest.
    ///
    /// # Errors
    /// They cannot be loaded, or are not served in time.
    pub fn serve(&mut self, set: &Set, asked: &[(From, Measured)], family: Family) -> Result<(), WorldError> {
        match self.peer {
            Peer::Fairway | Peer::FairwayTc => self.declare(set)?,
            Peer::Nftables | Peer::Iptables => {
                let typed = set.typed().map_err(|error| io_error("make Services", error.into()))?;
                let load = if self.peer == Peer::Nftables { load_nftables } else { load_iptables };
                load(&self.lab, &typed.0, &typed.1)?;
            }
            Peer::Haproxy => {
                drop(self.haproxy.take());
                let node = self.node(family);
                let started = haproxy::Haproxy::start(&self.lab, set, node, self.settings.nice);
                self.haproxy = Some(started.map_err(|source| io_error("start haproxy", source))?);
            }
            _ => {}
        }
        if self.peer != Peer::Clean {
            let first = vec![set.first()];
            self.answered(From::PodSameNode, &first)?;
        }
        for (from, measured) in asked {
            let to = set.targets(*from, *measured, self.node(family), self.peer != Peer::Clean);
            self.answered(*from, &to)?;
        }
        self.rest()
    }

    /// Writes the Services where Fairway's control plane reads them, in one step. The lab's own keeper does not read files
    /// of this name.
    fn declare(&self, set: &Set) -> Result<(), WorldError> {
        let (services, slices) = set.objects();
        let documents = services.iter().chain(&slices).map(|object| format!("---\n{object}\n"));
        let path = self.lab.state.manifests().join("services.yml");
        let new = path.with_extension("new");
        let text: String = documents.collect();
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| io_error("write the Services", source))
    }

    fn answered(&mut self, from: From, to: &[std::net::SocketAddr]) -> Result<(), WorldError> {
        let (start, all) = (Instant::now(), place::list(to));
        loop {
            let arguments = ["--workload", "crr", "--to", &all, "--warmup", "0", "--duration", "1"];
            match self.client(from, &arguments) {
                Ok(recorded) if recorded.ops > 0 => return Ok(()),
                Ok(_) | Err(WorldError::Client(_)) if start.elapsed() < SERVED => {
                    if let Some(how) = self.haproxy.as_mut().and_then(haproxy::Haproxy::ended) {
                        return Err(WorldError::NotServed(how));
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(recorded) => {
                    return Err(WorldError::NotServed(recorded.error.unwrap_or(all)));
                }
                Err(WorldError::Client(said)) => return Err(WorldError::NotServed(said)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the lab has used less than a hundredth of a CPU for a while.
    fn rest(&self) -> Result<(), WorldError> {
        let start = Instant::now();
        while start.elapsed() < SERVED {
            let before = self.used()?;
            std::thread::sleep(Duration::from_millis(200));
            if self.used()? - before < 4_000 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// CPU time of all of the lab's processes, in microseconds.
    fn used(&self) -> Result<u64, WorldError> {
        let text = self.cpu_stat().and_then(fs::read_to_string);
        let text = text.map_err(|source| io_error("read the CPU time of the lab", source))?;
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok());
        Ok(used.unwrap_or_default())
    }

    fn cpu_stat(&self) -> io::Result<PathBuf> {
        Ok(self.lab.state.cgroup()?.path().join("cpu.stat"))
    }

    /// Runs one block.
    ///
    /// # Errors
    /// The client failed.
    pub fn block(
        &mut self,
        from: From,
        workload: Workload,
        to: &[std::net::SocketAddr],
        cpus: Cpus,
        timing: Timing,
    ) -> Result<Recorded, WorldError> {
        if self.placed != Some(cpus) {
            let placed = place::servers(&self.lab, self.haproxy.as_ref(), self.settings.cpus, cpus);
            placed.map_err(|source| io_error("put the servers on their CPU", source))?;
            self.placed = Some(cpus);
        }
        flush::connections(self).map_err(|source| io_error("forget connections", source))?;
        let stat = self.cpu_stat().map_err(|source| io_error("find the lab's cgroup", source))?;
        let millis = |time: Duration| time.as_millis().to_string();
        let (name, all) = (workload.name(), place::list(to));
        let (warmup, duration) = (millis(timing.warmup), millis(timing.duration));
        let (stat, cpu) = (stat.display().to_string(), self.settings.cpus.0.to_string());
        let mut arguments = vec!["--workload", &name, "--to", &all, "--warmup", &warmup];
        arguments.extend(["--duration", &duration, "--cpu-stat", &stat, "--cpu", &cpu]);
        let rate = timing.rate.map(|rate| rate.to_string());
        arguments.extend(rate.iter().flat_map(|rate| ["--rate", rate.as_str()]));
        let nice = self.settings.nice.map(|nice| nice.to_string());
        arguments.extend(nice.iter().flat_map(|nice| ["--nice", nice.as_str()]));
        self.client(from, &arguments)
    }

    fn client(&self, from: From, arguments: &[&str]) -> Result<Recorded, WorldError> {
        let place = match from {
            From::PodSameNode | From::PodOtherNode => pods::CLIENT,
            From::Node => "node1",
            _ => "client",
        };
        let run = || {
            let mut command = self.lab.command(place, "fairway-bench")?;
            command.arg("load").args(arguments).stdin(Stdio::null()).output()
        };
        let output = run().map_err(|source| io_error("run the client", source))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(WorldError::Client(said.lines().last().unwrap_or_default().to_owned()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| WorldError::Client(error.to_string()))
    }
}

/// What of a peer is not on this machine.
fn missing(peer: Peer) -> Result<(), WorldError> {
    let program = |name: &str, package: &str| {
        let paths = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        let found = paths.iter().any(|path| std::path::Path::new(path).join(name).exists());
        let why = format!("`{name}` is not installed: `apt-get install --no-install-recommends {package}`");
        if found { Ok(()) } else { Err(WorldError::Missing(why)) }
    };
    match peer {
        Peer::Nftables => program("nft", "nftables"),
        Peer::Iptables => program("iptables-nft-restore", "iptables"),
        Peer::Haproxy => program("haproxy", "haproxy"),
        Peer::Ipvs if !std::path::Path::new("/proc/net/ip_vs").exists() => {
            Err(WorldError::Missing("the kernel has no IPVS (no /proc/net/ip_vs)".into()))
        }
        Peer::Ipvs => program("ipvsadm", "ipvsadm"),
        _ => Ok(()),
    }
}

/// What tells labs of one run apart; names of namespaces are short.
fn number(peer: Peer) -> u8 {
    peer as u8
}

fn io_error(what: &'static str, source: io::Error) -> WorldError {
    WorldError::Io { what, source }
}
