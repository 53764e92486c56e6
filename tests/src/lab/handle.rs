//! A running lab, as the command line, the demo and the suites use it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::Context;

use super::{Answer, Manifests, Place, PodState, Request, State, Status, command, down, up};
use crate::eventually_within;
use crate::traffic::http_status;

/// How long pods may take: all agents load their programs at once, and the kernel checks each.
const PODS_READY: Duration = Duration::from_secs(90);

/// A lab that is up.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Its names and addresses.
    pub state: State,
}

impl Lab {
    /// The lab of this state.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { state }
    }

    /// The manifests that its control plane watches.
    #[must_use]
    pub fn manifests(&self) -> Manifests {
        Manifests::new(self.state.manifests(), self.state.plan)
    }

    /// How everything is.
    ///
    /// # Errors
    /// The keeper does not answer.
    pub fn status(&self) -> io::Result<Status> {
        match self.ask(&Request::Status)? {
            Answer::Status(status) => Ok(status),
            other => Err(io::Error::other(format!("not a status: {other:?}"))),
        }
    }

    /// Stops the control plane (`control`) or the agent of a node; `kill`: by SIGKILL. Returns when it has ended.
    ///
    /// # Errors
    /// There is no such process.
    pub fn stop(&self, process: &str, kill: bool) -> io::Result<()> {
        self.order(&Request::Stop { process: process.into(), kill })
    }

    /// Starts it again. It may not be ready yet when this returns.
    ///
    /// # Errors
    /// There is no such process, or it runs.
    pub fn start(&self, process: &str) -> io::Result<()> {
        self.order(&Request::Start { process: process.into() })
    }

    /// How the control plane (`control`) or the agent of a node was started: its arguments, and the settings in its environment.
    ///
    /// # Errors
    /// It does not run.
    pub fn process(&self, name: &str) -> io::Result<(Vec<String>, BTreeMap<String, String>)> {
        let processes = self.status()?.processes;
        let pid = processes.into_iter().find(|process| process.name == name).and_then(|process| process.pid);
        let pid = pid.ok_or_else(|| io::Error::other(format!("`{name}` does not run")))?;
        let read = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}"));
        let arguments =
            read("cmdline")?.split('\0').skip(1).filter(|it| !it.is_empty()).map(Into::into).collect();
        let environment = read("environ")?;
        let settings = environment.split('\0').filter_map(|line| line.split_once('='));
        let settings = settings.filter(|(key, _)| key.starts_with("FAIRWAY_"));
        Ok((arguments, settings.map(|(key, value)| (key.into(), value.into())).collect()))
    }

    fn order(&self, request: &Request) -> io::Result<()> {
        match self.ask(request)? {
            Answer::Failed(why) => Err(io::Error::other(why)),
            _ => Ok(()),
        }
    }

    fn ask(&self, request: &Request) -> io::Result<Answer> {
        let mut stream = UnixStream::connect(self.state.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all((serde_json::to_string(request)? + "\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// The HTTP status of the readiness page of a node's agent.
    ///
    /// # Errors
    /// It does not answer.
    pub fn agent_health(&self, node: &str) -> io::Result<u16> {
        let page = (std::net::Ipv4Addr::LOCALHOST, 10256).into();
        self.state.netns(node).within(|| http_status(page, "/readyz", Duration::from_secs(1)))
    }

    /// A pod by `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// There is no such pod; the error names those that there are.
    pub fn pod(&self, name: &str) -> io::Result<PodState> {
        let pods = self.status()?.pods;
        let names: Vec<String> = pods.iter().map(|pod| pod.name.clone()).collect();
        pods.into_iter().find(|pod| pod.name == name).ok_or_else(|| {
            let text = format!("no pod `{name}`; there are: {}", names.join(", "));
            io::Error::new(io::ErrorKind::NotFound, text)
        })
    }

    /// Waits until there are so many pods and all of them are ready.
    ///
    /// # Errors
    /// It takes too long: which pods are not ready, what stands in their way, and where the logs are.
    pub async fn pods_ready(&self, count: usize) -> anyhow::Result<()> {
        let look = || async {
            let pods = self.status().map(|status| status.pods).unwrap_or_default();
            let waiting =
                pods.iter().filter(|pod| !pod.ready).map(|pod| (pod.name.clone(), pod.message.clone()));
            (pods.len(), waiting.collect::<Vec<_>>())
        };
        let what = format!("{count} pods are there and none waits");
        let ready =
            eventually_within(PODS_READY, &what, look, |(all, waiting)| *all == count && waiting.is_empty());
        let logs = self.state.directory().join("logs");
        ready.await.with_context(|| format!("logs: {}", logs.display())).map(drop)
    }

    /// Where programs run in a node, `client`, or a pod by `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// There is no such place; the error names those that there are.
    pub fn place(&self, target: &str) -> io::Result<Place> {
        if target.contains('/') {
            return Ok(self.pod(target)?.place);
        }
        let mut nodes: Vec<String> = self.state.plan.node_names().collect();
        if target == "client" || nodes.iter().any(|node| node == target) {
            return Ok(self.state.place(target));
        }
        nodes.push("client".into());
        let text = format!("no place `{target}`; use NAMESPACE/POD or one of: {}", nodes.join(", "));
        Err(io::Error::new(io::ErrorKind::NotFound, text))
    }

    /// The command that runs a program at `target`, with the settings that `fairway` finds its agent by on a node.
    ///
    /// # Errors
    /// As [`Lab::place`].
    pub fn command(&self, target: &str, program: &str) -> io::Result<Command> {
        let mut command = command(&self.place(target)?, program)?;
        if self.state.plan.number(target).is_some() {
            command.env("FAIRWAY_SOCKET", self.state.agent_socket(target));
            command.env("FAIRWAY_BPF_ROOT", self.state.pins(Some(target)));
        }
        Ok(command)
    }

    /// Runs a program at `target` and returns what it wrote.
    ///
    /// # Errors
    /// As [`Lab::place`].
    pub fn run(&self, target: &str, program: &[&str]) -> io::Result<Output> {
        let (name, arguments) = program.split_first().ok_or_else(|| io::Error::other("no program"))?;
        self.command(target, name)?.args(arguments).output()
    }
}

/// A lab that goes down when this is dropped.
#[derive(Debug)]
pub struct Running {
    lab: Lab,
}

impl Running {
    /// Brings up a lab, and takes it down in the end.
    ///
    /// # Errors
    /// As [`up`].
    pub async fn up(state: State) -> anyhow::Result<Self> {
        Ok(Self::new(tokio::task::spawn_blocking(move || up(state, &mut |_| {})).await??))
    }

    /// Takes the lab down in the end.
    #[must_use]
    pub fn new(lab: Lab) -> Self {
        Self { lab }
    }

    /// Leaves the lab up.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Deref for Running {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = down(&self.lab.state) {
            eprintln!("lab `{}` did not go down: {error}", self.lab.state.id);
        }
    }
}
