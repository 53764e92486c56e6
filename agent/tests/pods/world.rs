//! A node and its pods as network namespaces, made for one test and removed with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use fairway_agent::pods::{ProgramError, Programs};
use fairway_datapath::Pod;
use nix::sched::{CloneFlags, setns};

/// Namespaces `fwtest-<pid>-<number>-<name>`.
pub(crate) struct World {
    id: String,
    names: Mutex<Vec<String>>,
}

static WORLDS: AtomicUsize = AtomicUsize::new(0);

impl World {
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests make network namespaces: run them as root");
        let id = format!("fwtest-{}-{}", std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let world = Self { id, names: Mutex::default() };
        world.namespace("node");
        world.ip("node", "link set lo up");
        world.ip("node", "address add 192.0.2.1/32 dev lo");
        world.ip("node", "address add 2001:db8::1/128 dev lo nodad");
        world
    }

    /// Makes a namespace; returns its path.
    pub(crate) fn namespace(&self, name: &str) -> String {
        run(&format!("netns add {}-{name}", self.id));
        self.names.lock().unwrap().push(name.to_owned());
        self.path(name)
    }

    /// Deletes a namespace before the world's end.
    pub(crate) fn remove(&self, name: &str) {
        run(&format!("netns del {}-{name}", self.id));
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("/run/netns/{}-{name}", self.id)
    }

    /// Runs `ip` in a namespace; returns what it printed.
    pub(crate) fn ip(&self, name: &str, arguments: &str) -> String {
        run(&format!("-n {}-{name} {arguments}", self.id))
    }

    /// Runs `work` on a thread inside a namespace.
    pub(crate) fn inside<T: Send>(&self, name: &str, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.path(name), work)
    }

    /// Runs `work` in the node's namespace, on a runtime whose threads stay there.
    pub(crate) fn on_node<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.inside("node", || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work())
        })
    }

    /// As [`Self::on_node`], with several threads, as an agent has.
    pub(crate) fn on_node_with_threads<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.inside("node", || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(work())
        })
    }
}

/// Runs `work` on a thread inside the namespace at `path`.
pub(crate) fn inside<T: Send>(path: &str, work: impl FnOnce() -> T + Send) -> T {
    let netns = File::open(path).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Drop for World {
    fn drop(&mut self) {
        for name in self.names.lock().unwrap().iter() {
            let _already_gone =
                Command::new("ip").args(["netns", "del", &format!("{}-{name}", self.id)]).output();
        }
    }
}

fn run(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The data path's part, in memory. One call can be made to fail.
#[derive(Default)]
pub(crate) struct Fake {
    /// Where it is kept too: as a kernel does, it outlives the process.
    file: Option<PathBuf>,
    pub(crate) attached: Mutex<Vec<String>>,
    pub(crate) pods: Mutex<BTreeMap<IpAddr, Pod>>,
    pub(crate) refuse: Mutex<Option<&'static str>>,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// With what is kept in this file, which need not be there.
    pub(crate) fn kept_in(file: PathBuf) -> Arc<Self> {
        let fake = Self { file: Some(file.clone()), ..Self::default() };
        for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
            match line.parse() {
                Ok(address) => {
                    let (pod_mac, node_mac) = ([0; 6], [0; 6]);
                    let pod = Pod { address, ifindex: 1, pod_mac, node_mac, shaped: false };
                    fake.pods.lock().unwrap().insert(address, pod);
                }
                Err(_) => fake.attached.lock().unwrap().push(line.to_owned()),
            }
        }
        Arc::new(fake)
    }

    fn keep(&self) -> Result<(), ProgramError> {
        let Some(file) = &self.file else { return Ok(()) };
        let addresses: Vec<String> = self.pods.lock().unwrap().keys().map(IpAddr::to_string).collect();
        let lines = [addresses, self.attached.lock().unwrap().clone()].concat();
        Ok(std::fs::write(file, lines.join("\n"))?)
    }

    fn allow(&self, call: &'static str) -> Result<(), ProgramError> {
        match *self.refuse.lock().unwrap() {
            Some(refused) if refused == call => Err("the map is full".into()),
            _ => Ok(()),
        }
    }
}

impl Programs for Fake {
    fn attach_pod(&self, interface: &str) -> Result<(), ProgramError> {
        self.allow("attach_pod")?;
        self.attached.lock().unwrap().push(interface.to_owned());
        self.keep()
    }

    fn detach(&self, interface: &str) -> Result<(), ProgramError> {
        self.allow("detach")?;
        self.attached.lock().unwrap().retain(|it| it != interface);
        self.keep()
    }

    fn is_attached(&self, interface: &str) -> Result<bool, ProgramError> {
        Ok(self.attached.lock().unwrap().iter().any(|it| it == interface))
    }

    fn put_pod(&self, pod: &Pod) -> Result<(), ProgramError> {
        self.allow("put_pod")?;
        self.pods.lock().unwrap().insert(pod.address, *pod);
        self.keep()
    }

    fn delete_pod(&self, address: IpAddr) -> Result<(), ProgramError> {
        self.pods.lock().unwrap().remove(&address);
        self.keep()
    }

    fn pods(&self) -> Result<Vec<Pod>, ProgramError> {
        Ok(self.pods.lock().unwrap().values().copied().collect())
    }
}
