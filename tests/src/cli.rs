//! The command line.

mod inside;
mod lab;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use fairway_tests::lab::{Families, Runtime, SocketLb};
use fairway_tests::{keeper, traffic};

const EXAMPLES: &str = "Examples:
  fairway-lab up examples                       two nodes, both families
  fairway-lab exec node1 -- fairway status
  fairway-lab exec default/frontend -- fairway-lab request tcp 10.96.0.80:80
  fairway-lab exec client -- fairway-lab request http 192.168.50.2:30080
  fairway-lab status
  fairway-lab down";

/// A cluster of network namespaces on this machine: nodes with a real agent each, a control plane, pods, and a
/// client outside. Nothing of the machine's own network is touched.
#[derive(Parser)]
#[command(name = "fairway-lab", version, after_help = EXAMPLES)]
struct Cli {
    /// Which lab; needed only when there are several.
    #[arg(long, global = true, env = "FAIRWAY_LAB", value_name = "ID")]
    id: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build a lab from a directory of manifests, which is copied and never changed.
    Up(UpArguments),
    /// Run a command on a node, in a pod (NAMESPACE/POD), or on the client outside.
    Exec {
        /// nodeN, NAMESPACE/POD or client.
        target: String,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Add or replace the objects of a file or directory.
    Apply {
        /// A manifest, or a directory of them.
        file: PathBuf,
    },
    /// Remove the objects that a file or directory names.
    Delete {
        /// A manifest, or a directory of them.
        file: PathBuf,
    },
    /// Stop something and start it again.
    #[command(subcommand)]
    Restart(Restart),
    /// Show nodes, pods and processes.
    Status {
        /// json for programs.
        #[arg(short, long, default_value = "table")]
        output: status::Format,
    },
    /// Remove the lab and all that belongs to it.
    Down,
    /// Build a lab, show in steps what Fairway does, and remove it.
    Demo {
        /// Leave the lab up.
        #[arg(long)]
        keep: bool,
        /// The example manifests; default: found from where the program was built.
        #[arg(long, value_name = "DIR")]
        examples: Option<PathBuf>,
        /// What makes pods.
        #[arg(long, default_value = "lab")]
        runtime: Runtime,
    },
    /// Answer TCP lines, UDP datagrams and HTTP requests with a name and the addresses seen.
    Serve {
        /// What to answer as; default: the host name variable.
        #[arg(long, env = "HOSTNAME", default_value = "server")]
        name: String,
        #[command(flatten)]
        listeners: traffic::Listeners,
    },
    /// Serve keys and values over a part of the Redis protocol: PING, SET, GET, INCR.
    Redis {
        /// The TCP port.
        #[arg(long, default_value_t = 6379)]
        port: u16,
    },
    /// Ask a server of `serve` or `redis`, and print what it answers.
    Request(inside::RequestArguments),
    /// Count visits in a Redis server and answer HTTP requests with the count.
    Frontend(inside::FrontendArguments),
    /// Ask what stdin says, one JSON line each way: the client of the test suites.
    #[command(hide = true)]
    Runner,
    /// Look after a lab.
    #[command(hide = true)]
    Keep {
        /// The lab.
        lab: String,
    },
    /// Run a program in a namespace and cgroup.
    #[command(hide = true)]
    Enter {
        /// Name of the network namespace.
        #[arg(long)]
        netns: String,
        /// Path below the root of the cgroup2 mount.
        #[arg(long)]
        cgroup: String,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
}

#[derive(Subcommand)]
enum Restart {
    /// The agent of a node.
    Agent {
        /// The node.
        node: String,
        /// End it by SIGKILL, as a crash would.
        #[arg(long)]
        kill: bool,
    },
    /// The control plane.
    Control {
        /// End it by SIGKILL, as a crash would.
        #[arg(long)]
        kill: bool,
    },
}

#[derive(clap::Args)]
struct UpArguments {
    /// Directory of the manifests.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How many nodes.
    #[arg(long, default_value_t = 2)]
    nodes: u8,
    /// IP families.
    #[arg(long, default_value = "dual")]
    family: Families,
    /// Whose sockets are translated when they connect; `on` is `all`.
    #[arg(long, default_value = "all")]
    socket_lb: SocketLb,
    /// What makes pods.
    #[arg(long, default_value = "lab")]
    runtime: Runtime,
    /// A setting of the agents, as `fairway-agent config` lists them (repeatable): `--set routing=vxlan`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("not KEY=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

pub(crate) use lab::progress;

/// Runs the command line. Everything that moves the process into a namespace does so before a second thread starts.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fairway-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let id = cli.id.as_deref();
    match cli.command {
        Command::Up(arguments) => lab::up(id, &arguments)?,
        Command::Exec { target, command } => return Err(lab::exec(id, &target, &command)),
        Command::Apply { file } => lab::apply(id, &file)?,
        Command::Delete { file } => lab::delete(id, &file)?,
        Command::Restart(Restart::Agent { node, kill }) => lab::restart(id, &node, kill)?,
        Command::Restart(Restart::Control { kill }) => lab::restart(id, "control", kill)?,
        Command::Status { output } => status::print(&lab::find(id)?, output)?,
        Command::Down => lab::down(id)?,
        Command::Demo { keep, examples, runtime } => {
            return block_on(crate::demo::run(keep, examples, runtime));
        }
        Command::Serve { name, listeners } => block_on(traffic::serve(&name, &listeners)).context("serve")?,
        Command::Redis { port } => block_on(traffic::redis(port)).context("redis")?,
        Command::Request(arguments) => return block_on(inside::request(arguments)),
        Command::Frontend(arguments) => block_on(inside::frontend(arguments))?,
        Command::Runner => block_on(traffic::run())?,
        Command::Keep { lab } => {
            tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
            block_on(keeper::keep(&lab))?;
        }
        Command::Enter { netns, cgroup, command } => return Err(inside::enter(netns, cgroup, &command)),
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on<T, E: From<std::io::Error>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}
