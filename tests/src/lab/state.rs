//! What is known of a lab across processes: /run/fairway-lab/ID/state.json, and the names that follow from the id.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Cgroup, Families, Netns, Place, Plan, Runtime, SocketLb};

const LABS: &str = "/run/fairway-lab";

/// A process, told from a later one with the same number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Clock ticks from boot to its start.
    pub started: u64,
}

impl Owner {
    /// The process of this number, if it lives.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses, and may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let zombie = fields.next()? == "Z";
        let started = fields.nth(18)?.parse().ok()?;
        (!zombie).then_some(Self { pid, started })
    }

    /// Whether it still lives.
    #[must_use]
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// A lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its id, part of all names.
    pub id: String,
    /// The manifests that it was made from.
    pub source: PathBuf,
    /// Its addresses.
    pub plan: Plan,
    /// Whose sockets are translated.
    pub socket_lb: SocketLb,
    /// What makes pods.
    pub runtime: Runtime,
    /// Other settings of the agents, by name. One that starts again reads them anew.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// How the API server of a cluster is reached from the lab's `client`; the control plane, when it starts the next
    /// time, serves that and not the manifests.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The process that plays the kubelet.
    pub keeper: Option<Owner>,
    /// The process that the lab ends with; none: it stays until `down`.
    pub owner: Option<Owner>,
}

impl State {
    /// A lab that is not built yet.
    #[must_use]
    pub fn new(id: &str, source: &Path, nodes: u8, families: Families, socket_lb: SocketLb) -> Self {
        let plan = Plan { nodes, families };
        let runtime = Runtime::default();
        let (id, source, settings) = (id.into(), source.into(), BTreeMap::new());
        Self { id, source, plan, socket_lb, runtime, settings, kubeconfig: None, keeper: None, owner: None }
    }

    /// As [`State::new`], for a lab that ends with this process and has no manifests yet; its id is `NAME-PID`.
    #[must_use]
    pub fn of_this_process(name: &str, nodes: u8, families: Families, socket_lb: SocketLb) -> Self {
        let pid = std::process::id();
        let state = Self::new(&format!("{name}-{pid}"), Path::new(""), nodes, families, socket_lb);
        Self { owner: Owner::of(pid), ..state }
    }

    /// Reads the state of the lab `id`.
    ///
    /// # Errors
    /// There is no such lab.
    pub fn load(id: &str) -> io::Result<Self> {
        let text = fs::read_to_string(directory(id).join("state.json"))?;
        serde_json::from_str(&text).map_err(io::Error::other)
    }

    /// Writes the state.
    ///
    /// # Errors
    /// /run cannot be written.
    pub fn save(&self) -> io::Result<()> {
        fs::create_dir_all(self.directory())?;
        let (new, path) = (self.directory().join("state.json.new"), self.directory().join("state.json"));
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, path)
    }

    /// Whether someone still looks after it.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.keeper.is_some_and(Owner::alive)
    }

    /// The lab's directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        directory(&self.id)
    }

    /// The manifests that the control plane watches.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.directory().join("manifests")
    }

    /// The log of a process or pod.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.directory().join("logs").join(format!("{name}.log"))
    }

    /// The keeper's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory().join("lab.sock")
    }

    /// The control plane's socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.directory().join("control.sock")
    }

    /// The socket of a node's agent.
    #[must_use]
    pub fn agent_socket(&self, node: &str) -> PathBuf {
        self.directory().join(node).join("agent.sock")
    }

    /// Where deletions wait for a node's agent.
    #[must_use]
    pub fn deletions(&self, node: &str) -> PathBuf {
        self.directory().join(node).join("state/deletions")
    }

    /// Where a node's agent pins; the lab's whole tree without a node.
    #[must_use]
    pub fn pins(&self, node: Option<&str>) -> PathBuf {
        let tree = Path::new("/sys/fs/bpf").join(format!("fairway-lab-{}", self.id));
        node.map_or(tree.clone(), |node| tree.join(node))
    }

    /// What names of this lab's namespaces start with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("fwlab-{}-", self.id)
    }

    /// The namespace of a node, `client` or `underlay`.
    #[must_use]
    pub fn netns(&self, name: &str) -> Netns {
        Netns::named(&format!("{}{name}", self.prefix()))
    }

    /// The cgroup above all of the lab's.
    ///
    /// # Errors
    /// No cgroup2 is mounted.
    pub fn cgroup(&self) -> io::Result<Cgroup> {
        Cgroup::below_root(&self.cgroup_name())
    }

    pub(crate) fn cgroup_name(&self) -> String {
        format!("fairway-lab-{}", self.id)
    }

    /// Where processes of a node, or of `client` or `underlay`, run that are no pod's.
    #[must_use]
    pub fn place(&self, name: &str) -> Place {
        Place {
            netns: format!("{}{name}", self.prefix()),
            cgroup: format!("{}/{name}/system", self.cgroup_name()),
        }
    }

    /// Where a pod's processes run. `pod` is `NAMESPACE/NAME`.
    #[must_use]
    pub fn pod_place(&self, node: &str, pod: &str, host_network: bool) -> Place {
        let flat = pod.replace('/', "_");
        let netns = if host_network { node.into() } else { format!("pod-{flat}") };
        Place {
            netns: format!("{}{netns}", self.prefix()),
            cgroup: format!("{}/{node}/pods/{flat}", self.cgroup_name()),
        }
    }

    /// What the network of podman's containers is called.
    #[must_use]
    pub fn podman_network(&self) -> String {
        format!("{}podman", self.prefix())
    }

    /// The cgroup below which a container runtime makes those of a pod's containers. It is another than the pod's place,
    /// since no process may be in a cgroup above theirs.
    #[must_use]
    pub fn containers(&self, node: &str, pod: &str) -> String {
        format!("{}/{node}/containers/{}", self.cgroup_name(), pod.replace('/', "_"))
    }
}

fn directory(id: &str) -> PathBuf {
    Path::new(LABS).join(id)
}

/// All labs on this machine, dead ones too, by id.
#[must_use]
pub fn labs() -> Vec<State> {
    let entries = fs::read_dir(LABS).into_iter().flatten().flatten();
    let mut labs: Vec<State> =
        entries.filter_map(|entry| State::load(entry.file_name().to_str()?).ok()).collect();
    labs.sort_by(|a, b| a.id.cmp(&b.id));
    labs
}
