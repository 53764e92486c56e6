//! A control plane in a network namespace of its own, and the directory that it reads.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fairway_tests::lab::{Cgroup, Netns, Place, command};
use rtnetlink::LinkUnspec;

use super::cluster::Cluster;
use super::ledger::Times;

/// What all names begin with; the process that measures follows.
const PREFIX: &str = "fairway-many-";
/// Where agents connect, inside the namespace.
const ADDRESS: &str = "127.0.0.1:7443";
/// How long the control plane may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// All of it; dropped, it goes.
#[derive(Debug)]
pub(super) struct World {
    root: PathBuf,
    place: Place,
    cluster: Cluster,
    times: Times,
    control: Child,
    /// How many changes were made.
    changes: u32,
    _left: Leftovers,
}

impl World {
    /// Declares a cluster and starts a control plane that reads it.
    pub(super) fn build(services: u32, endpoints: u32, nodes: u32) -> Result<Self> {
        remove_stale();
        let name = format!("{PREFIX}{}", std::process::id());
        let place = Place { netns: name.clone(), cgroup: name.clone() };
        let root = root(&name);
        let left = Leftovers(name.clone());
        fs::create_dir(&root).with_context(|| format!("cannot make `{}`", root.display()))?;
        let netns = Netns::named(&name);
        netns.create().context("cannot make a network namespace: are you root?")?;
        netns.within(loopback_up).context("the namespace has no loopback")?;
        let cluster = Cluster::write(&root, services, endpoints, nodes).context("cannot write manifests")?;
        let times = Times::create(&root.join("times"))?;
        let log = File::create(root.join("control.log"))?;
        let mut command: Command = command(&place, "fairway-control")?;
        command.arg("--manifests").arg(cluster.directory()).args(["--listen", ADDRESS, "--insecure"]);
        // A line for each reading would be most of what it does.
        command.env("RUST_LOG", "warn");
        let control = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut world = Self { root, place, cluster, times, control, changes: 0, _left: left };
        world.wait()?;
        Ok(world)
    }

    /// Waits until the control plane listens.
    fn wait(&mut self) -> Result<()> {
        let start = Instant::now();
        let connect = || std::net::TcpStream::connect(ADDRESS);
        while Netns::named(&self.place.netns).within(connect).is_err() {
            if let Some(status) = self.control.try_wait()? {
                let log = fs::read_to_string(self.root.join("control.log")).unwrap_or_default();
                bail!("fairway-control ended with {status}: {log}");
            }
            ensure!(start.elapsed() < PATIENCE, "fairway-control does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The control plane's process.
    pub(super) fn control(&self) -> u32 {
        self.control.id()
    }

    /// Where agents run.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Where they connect.
    pub(super) fn url(&self) -> String {
        format!("http://{ADDRESS}")
    }

    /// Where it is noted when changes happen.
    pub(super) fn times(&self) -> PathBuf {
        self.root.join("times")
    }

    /// How many changes were made.
    pub(super) fn changes(&self) -> u32 {
        self.changes
    }

    /// Puts another endpoint in place of one.
    pub(super) fn change(&mut self) -> io::Result<()> {
        self.cluster.change(self.changes, || self.times.note(self.changes))?;
        self.changes += 1;
        Ok(())
    }

    /// The most memory that the control plane ever had, in MiB.
    pub(super) fn peak_memory(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.control()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no such line")?;
        let kib: f64 = line.split_whitespace().next().context("no number")?.parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.control.kill();
        let _ = self.control.wait();
    }
}

/// What a world of that name leaves outside of this process, removed when this is dropped.
#[derive(Debug)]
struct Leftovers(String);

impl Drop for Leftovers {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn root(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

/// Removes processes, namespace and directory; goes on whatever fails, and says so.
fn remove(name: &str) {
    let said = |what: &str, done: io::Result<()>| match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            eprintln!("{what} of `{name}` stays: {error}")
        }
        _ => {}
    };
    said("the cgroup", Cgroup::below_root(name).and_then(|cgroup| cgroup.remove()));
    said("the network namespace", Netns::named(name).remove());
    said("the directory", fs::remove_dir_all(root(name)));
}

/// Removes the worlds of processes that were killed.
fn remove_stale() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&name);
        }
    }
}

fn loopback_up() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        // The first device of every namespace.
        let up = LinkUnspec::new_with_index(1).up().build();
        netlink.link().set(up).execute().await.map_err(io::Error::other)
    })
}
