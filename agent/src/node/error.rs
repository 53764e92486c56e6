//! Why an agent cannot run, and the exit code that says so.

use std::io;
use std::path::PathBuf;

use crate::{health, netlink, pods};

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not root.
    #[error("the agent needs root (CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN): run it as root")]
    NotRoot,
    /// No BPF file system.
    #[error("`{path}` is not on a BPF file system: mount -t bpf bpf /sys/fs/bpf, or set bpf-root")]
    NoBpfFs {
        /// Where pins should be.
        path: PathBuf,
    },
    /// No cgroup v2 hierarchy.
    #[error(
        "no cgroup2 file system is mounted: mount -t cgroup2 none /sys/fs/cgroup, or set socket-lb = \"off\""
    )]
    NoCgroup,
    /// The configured directory is not one of a cgroup v2 hierarchy.
    #[error("cgroup: `{path}` is not a directory of a cgroup2 file system")]
    NotACgroup {
        /// The directory.
        path: PathBuf,
    },
    /// The kernel does not number network namespaces.
    #[error(
        "the kernel does not say which network namespace this is (SO_NETNS_COOKIE, Linux 5.14): set socket-lb to all or off"
    )]
    NoCookie(#[source] io::Error),
    /// Another agent runs.
    #[error("another agent (process {pid}) uses `{state_dir}`: stop it first, or set state-dir")]
    Locked {
        /// Its process id; empty if it has not written it yet.
        pid: String,
        /// The directory.
        state_dir: PathBuf,
    },
    /// Another agent answers.
    #[error("another agent answers on `{path}`: stop it first, or set socket")]
    SocketTaken {
        /// The socket.
        path: PathBuf,
    },
    /// A file or directory.
    #[error("{what} `{path}`")]
    File {
        /// What failed.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A network device that is not there.
    #[error("interface: there is no device `{name}` in this network namespace")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// A device whose packets the kernel programs cannot parse.
    #[error("interface: `{name}` has no Ethernet header: name an Ethernet device")]
    NotEthernet {
        /// Its name.
        name: String,
    },
    /// No network device.
    #[error("no Ethernet device has a default route: set interface")]
    NoDefaultRoute,
    /// No tunnels.
    #[error(
        "routing: the device of tunnels cannot be made: does the kernel have VXLAN (modprobe vxlan), and is UDP port {port} free (vxlan-port)?"
    )]
    NoTunnel {
        /// The UDP port.
        port: u16,
        /// What the kernel said.
        #[source]
        source: netlink::Error,
    },
    /// Signals.
    #[error("signals cannot be caught")]
    Signals(#[source] io::Error),
    /// The program was told to stop while it started.
    #[error("interrupted while the programs were loaded")]
    Interrupted,
    /// The data path.
    #[error("the data path")]
    Datapath(#[from] fairway_datapath::Error),
    /// Netlink.
    #[error("the node's network")]
    Netlink(#[from] netlink::Error),
    /// Pods.
    #[error("the pods of this node")]
    Pods(#[from] pods::Error),
    /// Health.
    #[error(transparent)]
    Health(#[from] health::Error),
    /// The embedded control plane.
    #[error("the embedded control plane")]
    Control(#[from] fairway_control::Error),
}

impl Error {
    /// What the process ends with: 5 a privilege is missing, 6 the kernel lacks something, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::NotRoot => 5,
            Error::Datapath(fairway_datapath::Error::Privilege { .. }) => 5,
            Error::NoBpfFs { .. } | Error::NoCgroup | Error::NoCookie(_) => 6,
            Error::Datapath(
                fairway_datapath::Error::NoBpffs { .. }
                | fairway_datapath::Error::Load(_)
                | fairway_datapath::Error::Program { .. },
            ) => 6,
            other if denied(other) => 5,
            _ => 1,
        }
    }
}

/// Whether the kernel said, somewhere down the chain, that a privilege is missing.
fn denied(error: &Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        next = error.source();
    }
    false
}
