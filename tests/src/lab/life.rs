//! A lab's beginning and end.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::enter::binaries;
use super::manifests::ManifestError;
use super::wire::{self, WireError};
use super::{Lab, Manifests, Owner, ProcessState, Runtime, State, Status, labs, leftovers};
use crate::runtime::{Containerd, MissingError};

/// How long a lab may take until all is ready.
const READY: Duration = Duration::from_secs(120);
/// How long nothing may get better.
const STUCK: Duration = Duration::from_secs(60);

/// Why a lab did not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpError {
    /// Namespaces and programs need root.
    #[error("network labs need root: run this as root, or with sudo")]
    NotRoot,
    /// It is there already.
    #[error(
        "lab `{id}` is up already: take it down first with `fairway-lab down --id {id}`, or choose another --id"
    )]
    Already {
        /// Its id.
        id: String,
    },
    /// Not a name for namespaces.
    #[error("`{id}` cannot be a lab's id: use at most 20 of a-z, 0-9 and `-`")]
    Id {
        /// The id.
        id: String,
    },
    /// Too few or too many nodes.
    #[error("a lab has 1 to 200 nodes, not {nodes}")]
    Nodes {
        /// What was asked for.
        nodes: u8,
    },
    /// A program of the build is missing.
    #[error("`{program}` is not built: run `cargo build --workspace`")]
    NotBuilt {
        /// Which.
        program: PathBuf,
    },
    /// The container runtime is not installed.
    #[error("the container runtime is not all here")]
    Runtime(#[from] MissingError),
    /// The manifests.
    #[error("cannot take the manifests")]
    Manifests(#[from] ManifestError),
    /// The world.
    #[error("cannot build the world")]
    Wire(#[from] WireError),
    /// A file or process.
    #[error("cannot {what}")]
    Io {
        /// What failed.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not everything was ready in time. The lab is left as it is.
    #[error(
        "not ready: {missing}\nlogs: {logs}\nthe lab is left as it is: `fairway-lab status --id {id}`, then `fairway-lab down --id {id}`"
    )]
    NotReady {
        /// What is missing.
        missing: String,
        /// Where to look.
        logs: PathBuf,
        /// Which lab.
        id: String,
    },
}

/// Errors of a clean-up, which went on after each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct DownError(pub Vec<String>);

/// Builds the lab and returns when all its pods are ready. `progress` is told what is being waited for.
///
/// # Errors
/// Nothing is left behind, except after [`UpError::NotReady`].
pub fn up(state: State, progress: &mut dyn FnMut(&str)) -> Result<Lab, UpError> {
    check(&state)?;
    let lab = Lab::new(state);
    build(&lab.state).inspect_err(|_| {
        // The cause of the failure matters more than what its clean-up says.
        down(&lab.state).ok();
    })?;
    wait_ready(&lab, progress)?;
    Ok(Lab::new(State::load(&lab.state.id).map_err(|source| io_error("read the lab's state", source))?))
}

fn check(state: &State) -> Result<(), UpError> {
    let (id, nodes) = (state.id.clone(), state.plan.nodes);
    if !nix::unistd::geteuid().is_root() {
        return Err(UpError::NotRoot);
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id.is_empty() || id.len() > 20 || !id.chars().all(plain) {
        return Err(UpError::Id { id });
    }
    if !(1..=200).contains(&nodes) {
        return Err(UpError::Nodes { nodes });
    }
    let directory = binaries().map_err(|source| io_error("find the programs", source))?;
    for name in ["fairway-agent", "fairway-control", "fairway-cni", "fairway-lab"] {
        let program = directory.join(name);
        if !program.exists() {
            return Err(UpError::NotBuilt { program });
        }
    }
    if state.runtime == Runtime::Containerd {
        Containerd::installed()?;
    }
    for (id, problem) in clean_stale() {
        eprintln!("fairway-lab: clean-up of dead lab `{id}`: {problem}");
    }
    if State::load(&id).is_ok_and(|present| present.alive()) {
        return Err(UpError::Already { id });
    }
    Ok(())
}

fn build(state: &State) -> Result<(), UpError> {
    let mut state = State { keeper: Owner::of(std::process::id()), ..state.clone() };
    state.save().map_err(|source| io_error("write the lab's state", source))?;
    let manifests = Manifests::new(state.manifests(), state.plan);
    manifests.add_nodes()?;
    if !state.source.as_os_str().is_empty() {
        manifests.apply(&state.source)?;
    }
    mount_bpffs().map_err(|source| io_error("mount /sys/fs/bpf", source))?;
    wire::build(&state)?;
    state.keeper = Some(start_keeper(&state).map_err(|source| io_error("start the lab's keeper", source))?);
    state.save().map_err(|source| io_error("write the lab's state", source))
}

/// Pins need it; it is no matter of the network, and stays mounted.
fn mount_bpffs() -> io::Result<()> {
    let path = "/sys/fs/bpf";
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    if mounts.lines().any(|line| line.split(' ').skip(1).take(2).eq([path, "bpf"])) {
        return Ok(());
    }
    let none: Option<&str> = None;
    Ok(mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), none)?)
}

fn start_keeper(state: &State) -> io::Result<Owner> {
    let log = state.log("keeper");
    fs::create_dir_all(log.parent().unwrap_or(Path::new("/")))?;
    let log = File::create(log)?;
    let mut command = Command::new(binaries()?.join("fairway-lab"));
    command.args(["keep", &state.id]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.process_group(0).spawn()?;
    Owner::of(child.id()).ok_or_else(|| io::Error::other("it ended at once; see the log"))
}

fn wait_ready(lab: &Lab, progress: &mut dyn FnMut(&str)) -> Result<(), UpError> {
    let start = Instant::now();
    let mut last = (Vec::new(), Instant::now());
    loop {
        let (missing, hopeless) = match lab.status() {
            Ok(status) => missing(&status),
            Err(error) => (vec![format!("the keeper: {error}")], false),
        };
        let Some(first) = missing.first() else { return Ok(()) };
        progress(&match missing.len() - 1 {
            0 => first.clone(),
            more => format!("{first} (and {more} more)"),
        });
        if last.0 != missing {
            last = (missing, Instant::now());
        }
        if hopeless || start.elapsed() > READY || last.1.elapsed() > STUCK {
            let logs = lab.state.directory().join("logs");
            let missing = last.0.iter().map(|line| format!("\n  {line}")).collect();
            return Err(UpError::NotReady { missing, logs, id: lab.state.id.clone() });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is not as it should be, a line each; true when it will not get better by itself.
fn missing(status: &Status) -> (Vec<String>, bool) {
    let ended: Vec<String> = status.processes.iter().filter_map(ended).collect();
    if !ended.is_empty() {
        return (ended, true);
    }
    let pods = status.pods.iter().filter(|pod| !pod.ready).map(|pod| {
        let why = pod.message.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("pod {} on {} is {}{why}", pod.name, pod.node, pod.phase)
    });
    (pods.collect(), false)
}

/// How a process ended, if it did, with the last line of its log.
fn ended(process: &ProcessState) -> Option<String> {
    let how = process.ended.as_deref()?;
    let log = fs::read_to_string(&process.log).unwrap_or_default();
    let said = log.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
    Some(format!("{} ended ({how}){said}", process.name))
}

/// Removes everything of the lab: processes, namespaces, cgroups, pins, files.
///
/// # Errors
/// All that went wrong; the clean-up goes on after each.
pub fn down(state: &State) -> Result<(), DownError> {
    // The state on disk knows a keeper that was started after `state` was read.
    let state = &State::load(&state.id).unwrap_or_else(|_| state.clone());
    let mut errors = Vec::new();
    let mut note = |what: &str, done: io::Result<()>| {
        if let Err(error) = done {
            errors.push(format!("{what}: {error}"));
        }
    };
    note("keeper", end_keeper(state));
    note("cgroup", state.cgroup().and_then(|cgroup| cgroup.remove()));
    note("container runtime", leftovers::remove(state));
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(own) = name.strip_prefix(&state.prefix()) {
            note(&name, state.netns(own).remove());
        }
    }
    note("pins", remove_tree(&state.pins(None)));
    if !errors.is_empty() {
        // The state stays, so that the next `up` or `down` tries again.
        return Err(DownError(errors));
    }
    remove_tree(&state.directory()).map_err(|error| DownError(vec![format!("directory: {error}")]))
}

/// Copies a lab's logs to where they outlive it, and says where.
///
/// # Errors
/// They cannot be read or written.
pub fn keep_logs(state: &State) -> io::Result<PathBuf> {
    let to = std::env::temp_dir().join(format!("fairway-lab-{}-logs", state.id));
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(state.directory().join("logs"))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(to)
}

fn end_keeper(state: &State) -> io::Result<()> {
    let Some(keeper) = state.keeper.filter(|keeper| keeper.pid != std::process::id()) else { return Ok(()) };
    let start = Instant::now();
    while keeper.alive() {
        if start.elapsed() > Duration::from_secs(5) {
            return Err(io::Error::other(format!("process {} does not end", keeper.pid)));
        }
        let pid = i32::try_from(keeper.pid).map_err(io::Error::other)?;
        match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) | Err(nix::Error::ESRCH) => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes labs whose keeper or owner died; returns what went wrong with which.
pub fn clean_stale() -> Vec<(String, DownError)> {
    let dead = |lab: &State| !lab.alive() || lab.owner.is_some_and(|owner| !owner.alive());
    let stale = labs().into_iter().filter(dead);
    stale.filter_map(|lab| down(&lab).err().map(|error| (lab.id, error))).collect()
}

fn io_error(what: &'static str, source: io::Error) -> UpError {
    UpError::Io { what, source }
}
