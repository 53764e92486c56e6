//! Processes in the place of the lab's: with other arguments, or within another program.

use std::fs;
use std::process::Stdio;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::world::World;

/// A process that stands in for the control plane, or for an agent, until it ends.
pub(crate) struct Other<'world> {
    world: &'world World,
    name: &'static str,
    command: Command,
    child: Child,
}

impl<'world> Other<'world> {
    /// Starts another `control`, or another agent of a node. `change` gets the arguments, and returns the program with all that
    /// is before them. The control plane is outside then, where it has an address.
    pub(crate) async fn start(
        world: &'world World,
        name: &'static str,
        change: impl FnOnce(&mut Vec<String>) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        let (place, program) = match name {
            "control" => ("client", "fairway-control"),
            node => (node, "fairway-agent"),
        };
        let (mut arguments, settings) = world.lab.process(name)?;
        let before = change(&mut arguments);
        let words: Vec<String> = before.into_iter().chain([program.to_owned()]).chain(arguments).collect();
        let (first, rest) = words.split_first().context("no program")?;
        let mut command = Command::from(world.lab.command(place, first)?);
        let log = fs::File::options().create(true).append(true).open(world.lab.state.log(&log_of(name)))?;
        command.envs(settings).args(rest);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        world.lab.stop(name, false)?;
        let child = command.spawn()?;
        Ok(Self { world, name, command, child })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("it does not run")
    }

    /// Ends it and starts it again as it was.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.child = self.command.spawn()?;
        Ok(())
    }

    /// Ends it, and starts the lab's own again.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.stop().await?;
        Ok(self.world.lab.start(self.name)?)
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            kill(Pid::from_raw(pid.try_into()?), Signal::SIGTERM).ok();
        }
        self.child.wait().await?;
        Ok(())
    }

    /// What it and those before it in this lab have written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.world.lab.state.log(&log_of(self.name))).unwrap_or_default()
    }
}

fn log_of(name: &str) -> String {
    format!("{name}-other")
}

/// Runs a trial with another agent in the place of node1's, whose process id it gets.
pub(crate) async fn with_agent<F: Future<Output = anyhow::Result<()>>>(
    world: &World,
    change: impl FnOnce(&mut Vec<String>) -> Vec<String>,
    trial: impl FnOnce(u32) -> F,
) -> anyhow::Result<()> {
    let agent = Other::start(world, "node1", change).await?;
    let pid = agent.pid()?;
    let done = match world.ready("node1").await {
        Ok(()) => trial(pid).await,
        Err(error) => Err(error),
    };
    agent.end().await?;
    world.ready("node1").await?;
    done
}

/// Sets the value of an argument.
pub(crate) fn set(arguments: &mut Vec<String>, name: &str, value: &str) {
    match arguments.iter().position(|argument| argument == name) {
        Some(at) => arguments[at + 1] = value.to_owned(),
        None => arguments.extend([name.to_owned(), value.to_owned()]),
    }
}
