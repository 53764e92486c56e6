//! The command tree.

pub(crate) mod conntrack;
mod ipam;
mod trace;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use conntrack::{AffinityCommand, ConntrackCommand, NatCommand};
pub(crate) use ipam::IpamCommand;
pub(crate) use trace::Trace;

/// See and trace what Fairway does with a node's traffic.
#[derive(Debug, Parser)]
#[command(name = "fairway", version, propagate_version = true, max_term_width = 110)]
#[command(before_help = "Examples:
  fairway status                              how the node is, one line per subsystem
  fairway service list --backends             Services, and where their connections go
  fairway trace --svc default/web --drops     packets to a Service that get lost, as it happens
  fairway drops explain no-backend            what a reason means, and what to do
  fairway --from kernel service list          the same from the pinned maps, with no agent")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// One document; one object per line when tracing.
    Json,
    /// One document; a stream of documents when tracing.
    Yaml,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On terminals, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where state is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// The agent, over its socket.
    Agent,
    /// The pinned maps, with no agent: addresses and numbers only, for the maps hold no names.
    Kernel,
}

/// Options that every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Form of the output
    #[arg(short, long, global = true, value_enum, default_value = "table", help_heading = "Output")]
    pub(crate) output: Format,
    /// Leave out the line of column names
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) no_headers: bool,
    /// When to use colours; NO_COLOR and CLICOLOR_FORCE are honoured
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub(crate) color: Color,
    /// Only what belongs to this namespace
    #[arg(short, long, global = true, help_heading = "Select")]
    pub(crate) namespace: Option<String>,
    /// All namespaces (the default)
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace", help_heading = "Select")]
    pub(crate) all_namespaces: bool,
    /// Ask the agent, or read the pinned maps
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "agent",
        value_name = "SOURCE",
        help_heading = "Connection"
    )]
    pub(crate) from: From,
    /// The agent's socket
    #[arg(long, global = true, env = "FAIRWAY_SOCKET", default_value = "/run/fairway/agent.sock")]
    #[arg(value_name = "PATH", hide_env_values = true, help_heading = "Connection")]
    pub(crate) socket: PathBuf,
    /// Directory of the pinned maps
    #[arg(long, global = true, env = "FAIRWAY_BPF_ROOT", default_value = "/sys/fs/bpf/fairway")]
    #[arg(value_name = "DIR", hide_env_values = true, help_heading = "Connection")]
    pub(crate) bpf_root: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How the node is, one line per subsystem
    #[command(before_help = "Examples:
  fairway status                 exit 1 when a subsystem has failed
  fairway status -o wide         programs and maps too
  fairway --from kernel status   the maps, with no agent")]
    Status,
    /// Service addresses, as the data path serves them
    #[command(visible_alias = "svc", alias = "services", subcommand)]
    Service(ServiceCommand),
    /// Where connections to Services go
    #[command(alias = "backends", subcommand)]
    Backend(BackendCommand),
    /// Translated connections
    #[command(visible_alias = "ct", subcommand)]
    Conntrack(ConntrackCommand),
    /// Backends that clients keep
    #[command(alias = "affinities", subcommand)]
    Affinity(AffinityCommand),
    /// Connections whose source is translated
    #[command(subcommand)]
    Nat(NatCommand),
    /// Pods of this node
    #[command(visible_alias = "ep", alias = "endpoints", subcommand)]
    Endpoint(EndpointCommand),
    /// Addresses of this node's pods
    #[command(subcommand)]
    Ipam(IpamCommand),
    /// Packets and calls that were refused or dropped, by reason
    #[command(alias = "drop", args_conflicts_with_subcommands = true)]
    #[command(before_help = "Examples:
  fairway drops                          counts since the maps were made
  fairway drops --all                    forwarding decisions too
  fairway drops explain no-backend       what it means and what to do")]
    Drops(Drops),
    /// Decisions of the data path as they happen, until Ctrl-C
    #[command(before_help = "Examples:
  fairway trace --svc default/web                   everything towards and from a Service
  fairway trace --pod default/client --port 80      one pod, one port, before or after translation
  fairway trace --drops --count 1 --duration 30s    wait for the first loss

All filters given must match; an address or port matches before or after translation.
A connect() does not tell whose socket it is: --pod finds it by its backend only.
Times are UTC.")]
    Trace(Trace),
    /// Measure what Services cost on this machine, beside kube-proxy's rules and plain forwarding
    #[command(disable_help_flag = true)]
    #[command(before_help = "Examples:
  fairway bench run --json before.json --html before.html
  fairway bench compare before.json after.json --fail-if 'connect.p99 > +5%'")]
    Bench {
        /// Passed on to `fairway-bench`: see `fairway bench --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// The version of this program
    Version,
    /// A completion script for a shell
    #[command(before_help = "Examples:
  fairway completion bash > /etc/bash_completion.d/fairway
  fairway completion fish > ~/.config/fish/completions/fairway.fish")]
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// Verbs of `service`.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// List Service addresses
    #[command(
        visible_alias = "ls",
        before_help = "Examples:
  fairway service list
  fairway service list --backends      two levels, as ipvsadm shows them
  fairway svc list -n default -o json"
    )]
    List {
        /// Show each address's backends below it
        #[arg(long, help_heading = "Output")]
        backends: bool,
    },
}

/// Verbs of `backend`.
#[derive(Debug, Subcommand)]
pub(crate) enum BackendCommand {
    /// List backends
    #[command(
        visible_alias = "ls",
        before_help = "Examples:
  fairway backend list
  fairway backend list -o wide      ids, and every Service that uses it"
    )]
    List,
}

/// Verbs of `endpoint`.
#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// List the pods of this node
    #[command(
        visible_alias = "ls",
        before_help = "Examples:
  fairway endpoint list
  fairway endpoint list -o wide      container, device index and MAC addresses"
    )]
    List,
}

/// `drops`.
#[derive(Args, Debug)]
pub(crate) struct Drops {
    /// Forwarding decisions too
    #[arg(long, help_heading = "Select")]
    pub(crate) all: bool,
    #[command(subcommand)]
    pub(crate) command: Option<DropsCommand>,
}

/// Verbs of `drops`.
#[derive(Debug, Subcommand)]
pub(crate) enum DropsCommand {
    /// What a reason means, and what to do
    Explain {
        /// The reason's name; none: all of them
        reason: Option<String>,
    },
}

/// The command tree, with every help text's examples first.
pub(crate) fn command() -> clap::Command {
    examples_first(Cli::command())
}

fn examples_first(command: clap::Command) -> clap::Command {
    const TEMPLATE: &str =
        "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = command.help_template(TEMPLATE);
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, examples_first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn nouns_are_accepted_in_singular_plural_and_short_form() {
        for words in [
            "service list",
            "services list",
            "svc list",
            "backends list",
            "ct list",
            "affinity ls",
            "endpoints ls",
            "drop",
        ] {
            let words = std::iter::once("fairway").chain(words.split(' '));
            assert!(command().try_get_matches_from(words.clone()).is_ok(), "{:?}", words.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_namespace_and_all_namespaces_exclude_each_other() {
        let error = command().try_get_matches_from(["fairway", "svc", "list", "-n", "a", "-A"]);
        assert_eq!(error.map(drop).map_err(|error| error.exit_code()), Err(2));
    }
}
