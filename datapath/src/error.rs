//! What can go wrong between user space and the kernel.

use std::io;
use std::path::PathBuf;

/// Why the data path could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pin directory is not on a BPF file system.
    #[error("`{path}` is not on a BPF file system: run `mount -t bpf bpf /sys/fs/bpf`")]
    NoBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// CAP_BPF, CAP_NET_ADMIN or CAP_SYS_ADMIN is missing.
    #[error("the kernel refuses to {action}: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN")]
    Privilege {
        /// What was refused.
        action: &'static str,
    },
    /// A pinned map of this layout version has another shape.
    #[error(
        "pinned map `{path}` has {what} {found} where this version has {wanted}: \
         stop the other agent, or run `fairway-agent cleanup`"
    )]
    Layout {
        /// The pin.
        path: PathBuf,
        /// Which property.
        what: &'static str,
        /// As pinned.
        found: u64,
        /// As compiled.
        wanted: u64,
    },
    /// No agent has pinned anything here.
    #[error("nothing is pinned at `{path}`: has an agent run on this node, with this BPF root?")]
    NotPinned {
        /// The directory.
        path: PathBuf,
    },
    /// The object does not load.
    #[error("cannot load the kernel programs")]
    Load(#[source] Box<aya::EbpfError>),
    /// The verifier refuses a program, or it does not attach.
    #[error("cannot {action} program `{program}`")]
    Program {
        /// load, attach.
        action: &'static str,
        /// Its name.
        program: &'static str,
        /// The kernel's answer, with the verifier's log.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// A map operation failed.
    #[error("cannot {action} map `{map}`")]
    Map {
        /// open, read, write.
        action: &'static str,
        /// Its name.
        map: &'static str,
        /// The kernel's answer.
        #[source]
        source: Box<aya::maps::MapError>,
    },
    /// A map is full.
    #[error("map `{map}` is full ({capacity} entries)")]
    Full {
        /// Its name.
        map: &'static str,
        /// Its size.
        capacity: u32,
    },
    /// A file, device or link operation failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A device runs somebody else's XDP program; it can run one.
    #[error("another XDP program is at `{interface}`")]
    XdpTaken {
        /// The device.
        interface: String,
    },
    /// A device cannot run an XDP program this way.
    #[error("`{interface}` cannot run XDP programs in {mode} mode")]
    NoXdp {
        /// The device.
        interface: String,
        /// The mode's name.
        mode: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Several things could not be removed.
    #[error("could not remove {0}")]
    Remove(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn program(
        action: &'static str,
        program: &'static str,
    ) -> impl FnOnce(aya::programs::ProgramError) -> Self {
        move |source| Self::Program { action, program, source: Box::new(source) }
    }

    pub(crate) fn map(action: &'static str, map: &'static str) -> impl FnOnce(aya::maps::MapError) -> Self {
        move |source| Self::Map { action, map, source: Box::new(source) }
    }
}
