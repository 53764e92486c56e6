//! What can go wrong, what to do next, and the exit code that says so to scripts.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use fairway_datapath::Error as Kernel;

/// Exit codes; 0 is success, 2 is clap's own for usage, 130 is Ctrl-C.
pub(crate) mod exit {
    /// A negative answer: something failed, was dropped, or a command could not finish.
    pub(crate) const NEGATIVE: u8 = 1;
    /// Wrong usage.
    pub(crate) const USAGE: u8 = 2;
    /// The agent does not answer.
    pub(crate) const UNREACHABLE: u8 = 3;
    /// No such thing.
    pub(crate) const NOT_FOUND: u8 = 4;
    /// A privilege is missing.
    pub(crate) const PRIVILEGE: u8 = 5;
    /// The kernel lacks a feature.
    pub(crate) const KERNEL: u8 = 6;
    /// Only a part, too late, or events lost.
    pub(crate) const PARTIAL: u8 = 7;
    /// SIGINT.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no agent answers on `{socket}`")]
    Unreachable {
        socket: PathBuf,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("the agent on `{socket}` did not answer within {}", humantime::format_duration(*.after))]
    Timeout { socket: PathBuf, after: Duration },
    #[error("the agent answered: {}", .0.message())]
    Agent(#[source] Box<tonic::Status>),
    #[error("the pinned maps below `{root}` cannot be read")]
    Kernel {
        root: PathBuf,
        #[source]
        source: Kernel,
    },
    #[error("`{0}` needs the agent: it cannot be read from the pinned maps")]
    NeedsAgent(&'static str),
    #[error("a namespace cannot be selected with `--from kernel`: the maps hold no names")]
    NamesNeedAgent,
    #[error("every connection of this node would be ended: give a filter, or --all")]
    FlushAll,
    #[error("there is no reason `{0}`")]
    NoSuchReason(String),
    #[error("{}", .0.message())]
    NoSuchAddress(Box<tonic::Status>),
    #[error("{}", .0.message())]
    AddressInUse(Box<tonic::Status>),
    #[error("the agent ended the trace")]
    TraceEnded,
    #[error("the program cannot be started")]
    Start(#[source] io::Error),
    #[error("the benchmark is a program of its own, and `{program}` does not start")]
    NoBench {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the result cannot be written")]
    Write(#[source] io::Error),
    #[error("the result cannot be put into JSON")]
    Json(#[from] serde_json::Error),
    #[error("the result cannot be put into YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

impl Error {
    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Error::Unreachable { .. } | Error::Kernel { .. } if denied(self) => exit::PRIVILEGE,
            Error::Kernel { source: Kernel::NotPinned { .. }, .. } => exit::NOT_FOUND,
            Error::Unreachable { .. } | Error::TraceEnded => exit::UNREACHABLE,
            Error::Timeout { .. } => exit::PARTIAL,
            Error::Agent(status) => match status.code() {
                tonic::Code::NotFound => exit::NOT_FOUND,
                tonic::Code::InvalidArgument => exit::USAGE,
                tonic::Code::PermissionDenied => exit::PRIVILEGE,
                tonic::Code::FailedPrecondition => exit::KERNEL,
                tonic::Code::Unavailable => exit::UNREACHABLE,
                tonic::Code::DeadlineExceeded => exit::PARTIAL,
                _ => exit::NEGATIVE,
            },
            Error::NoSuchReason(_) | Error::NoSuchAddress(_) | Error::NoBench { .. } => exit::NOT_FOUND,
            Error::AddressInUse(_) => exit::NEGATIVE,
            Error::NeedsAgent(_) | Error::NamesNeedAgent | Error::FlushAll => exit::USAGE,
            Error::Kernel { .. } | Error::Start(_) => exit::NEGATIVE,
            Error::Write(_) | Error::Json(_) | Error::Yaml(_) => exit::NEGATIVE,
        }
    }

    /// The causes, the nearest first, without those that only repeat.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        if matches!(self, Error::Agent(_)) {
            return causes;
        }
        for error in chain(self).skip(1) {
            let text = error.to_string();
            let layer = matches!(text.as_str(), "transport error" | "tcp connect error");
            if !layer && causes.last().is_none_or(|last| !last.contains(&text)) {
                causes.push(text);
            }
        }
        causes
    }

    /// What to do next; one line each.
    pub(crate) fn next(&self) -> Vec<String> {
        let lines: &[&str] = match self {
            Error::Unreachable { .. } if denied(self) => {
                &["run it as root: only root may open the agent's socket"]
            }
            Error::Kernel { .. } if denied(self) => {
                &["run it as root: maps are read with CAP_BPF (CAP_SYS_ADMIN)"]
            }
            Error::Unreachable { .. } | Error::Timeout { .. } => {
                &["systemctl status fairway-agent", "fairway --from kernel service list   # needs no agent"]
            }
            Error::Kernel { source: Kernel::NotPinned { .. }, .. } => {
                &["systemctl status fairway-agent", "give --bpf-root if the agent was given another one"]
            }
            Error::NeedsAgent(_) | Error::NamesNeedAgent => &["leave out `--from kernel`"],
            Error::FlushAll => &["fairway conntrack flush --dry-run --svc NAMESPACE/NAME"],
            Error::NoBench { .. } => {
                &["install `fairway-bench` and `fairway-lab` of the same build beside `fairway`"]
            }
            Error::NoSuchAddress(_) => &["fairway ipam list"],
            Error::AddressInUse(_) => &["fairway ipam release ADDRESS --force   # the pod loses its network"],
            Error::NoSuchReason(_) => &["fairway drops explain   # lists all reasons"],
            Error::Agent(status) if status.code() == tonic::Code::NotFound => {
                &["fairway service list; fairway endpoint list"]
            }
            Error::Agent(_) => &["journalctl -u fairway-agent"],
            Error::Kernel { .. } => &["fairway status"],
            Error::TraceEnded => &["systemctl status fairway-agent"],
            Error::Start(_) | Error::Write(_) | Error::Json(_) | Error::Yaml(_) => &[],
        };
        lines.iter().map(|line| (*line).to_owned()).collect()
    }
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Whether the operating system refused it for want of a privilege.
fn denied(error: &Error) -> bool {
    matches!(error, Error::Kernel { source: Kernel::Privilege { .. }, .. })
        || chain(error).any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        })
}
