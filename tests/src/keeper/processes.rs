//! The control plane and the agents. One that ends is not started again by itself: what a test stops stays stopped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::lock;
use crate::lab::{ProcessState, Runtime, State, command};
use crate::runtime::Containerd;

/// What the name of a node's container runtime starts with; the rest is the node's.
pub(super) const CONTAINERD: &str = "containerd-";

const GRACE: Duration = Duration::from_secs(10);

struct Process {
    pid: u32,
    /// How it ended, once it did.
    ended: watch::Receiver<Option<String>>,
}

/// The processes by name: `control`, each node's name for its agent, and `containerd-NODE`.
pub(super) struct Processes {
    state: Arc<State>,
    running: Mutex<BTreeMap<String, Process>>,
    /// Counts starts, so that what an agent must be told again is told again.
    starts: watch::Sender<u64>,
}

impl Processes {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self { state, running: Mutex::default(), starts: watch::channel(0).0 }
    }

    /// Changes whenever a process was started.
    pub(super) fn starts(&self) -> watch::Receiver<u64> {
        self.starts.subscribe()
    }

    /// All, by name.
    pub(super) fn states(&self) -> Vec<ProcessState> {
        let state = |(name, process): (&String, &Process)| {
            let ended = process.ended.borrow().clone();
            let pid = ended.is_none().then_some(process.pid);
            ProcessState { name: name.clone(), pid, ended, log: self.log(name).display().to_string() }
        };
        lock(&self.running).iter().map(state).collect()
    }

    /// Starts a process that does not run.
    pub(super) fn start(&self, name: &str) -> io::Result<()> {
        let mut running = lock(&self.running);
        if running.get(name).is_some_and(|process| process.ended.borrow().is_none()) {
            return Err(io::Error::other(format!("`{name}` runs already")));
        }
        let mut child = match name.strip_prefix(CONTAINERD) {
            Some(node) => self.containerd(node)?,
            None if name == "control" => self.control()?,
            None => self.agent(name)?,
        };
        let pid = child.id().unwrap_or_default();
        let (end, ended) = watch::channel(None);
        let own_name = name.to_owned();
        tokio::spawn(async move {
            let how = child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
            tracing::info!("{own_name} ended: {how}");
            end.send_replace(Some(how));
        });
        running.insert(name.into(), Process { pid, ended });
        self.starts.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Stops a process, and waits until it has ended. One that does not run is a success.
    pub(super) async fn stop(&self, name: &str, at_once: bool) -> io::Result<()> {
        let found = lock(&self.running).get(name).map(|process| (process.pid, process.ended.clone()));
        let (pid, mut ended) = found.ok_or_else(|| io::Error::other(format!("no process `{name}`")))?;
        let first = if at_once { Signal::SIGKILL } else { Signal::SIGTERM };
        for signal in [first, Signal::SIGKILL] {
            if ended.borrow().is_some() {
                return Ok(());
            }
            kill(Pid::from_raw(pid.try_into().map_err(io::Error::other)?), signal)?;
            if tokio::time::timeout(GRACE, ended.wait_for(Option::is_some)).await.is_ok() {
                return Ok(());
            }
        }
        Err(io::Error::other(format!("`{name}` (process {pid}) does not end")))
    }

    fn log(&self, name: &str) -> std::path::PathBuf {
        self.state.log(name)
    }

    fn control(&self) -> io::Result<Child> {
        let kubeconfig = State::load(&self.state.id)?.kubeconfig;
        // Nobody has an address in the network that joins the nodes.
        let place = if kubeconfig.is_some() { "client" } else { "underlay" };
        let mut command = Command::from(command(&self.state.place(place), "fairway-control")?);
        match kubeconfig {
            Some(file) => command.arg("--kubernetes").arg("--kubeconfig").arg(file),
            None => command.arg("--manifests").arg(self.state.manifests()),
        };
        command.arg("--listen").arg(unix(&self.state.control_socket()));
        self.spawn("control", command)
    }

    fn agent(&self, node: &str) -> io::Result<Child> {
        let state = &self.state;
        let number = state.plan.number(node).ok_or_else(|| io::Error::other(format!("no node `{node}`")))?;
        let place = state.place(node);
        // The sockets of the node are those of its cgroup and of all below it, pods included.
        let system = state.cgroup()?.child(node);
        let own = state.directory().join(node);
        fs::create_dir_all(&own)?;
        let mut command = Command::from(command(&place, "fairway-agent")?);
        command.args(["--node-name", node, "--interface", "eth0", "--socket-lb", state.socket_lb.flag()]);
        command.arg("--cgroup").arg(system.path());
        command.arg("--bpf-root").arg(state.pins(Some(node)));
        command.arg("--state-dir").arg(own.join("state"));
        command.arg("--socket").arg(state.agent_socket(node));
        command.args(["--health-address", "127.0.0.1:10256", "--zone", &format!("zone{number}")]);
        let mut settings = State::load(&state.id)?.settings;
        // Whom the world sees is a question of few tests; all others see pods.
        settings.entry("masquerade".into()).or_insert_with(|| "none".into());
        if !settings.contains_key("kubernetes") {
            settings.entry("control".into()).or_insert_with(|| unix(&state.control_socket()));
        }
        for (key, value) in settings {
            // As flags, those that are on or off would take no value.
            command.env(format!("FAIRWAY_{}", key.to_uppercase().replace('-', "_")), value);
        }
        for range in state.plan.service_cidrs() {
            command.arg("--service-cidr").arg(range.to_string());
        }
        if state.runtime == Runtime::Containerd {
            command.arg("--cni-conf").arg(Containerd::of(state, node).network_file());
        }
        self.spawn(node, command)
    }

    fn containerd(&self, node: &str) -> io::Result<Child> {
        let words = Containerd::of(&self.state, node).prepare()?;
        let (program, arguments) = words.split_first().ok_or_else(|| io::Error::other("no program"))?;
        let mut command = Command::from(command(&self.state.place(node), program)?);
        command.args(arguments);
        self.spawn(&format!("{CONTAINERD}{node}"), command)
    }

    fn spawn(&self, name: &str, mut command: Command) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log(name))?;
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn()
    }
}

fn unix(path: &Path) -> String {
    format!("unix://{}", path.display())
}
