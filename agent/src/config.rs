//! The agent's settings: from flags, environment, a file and defaults, in this order of precedence.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

/// Which sockets' connections to Services are translated at the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketLb {
    /// Those of every process on the node.
    All,
    /// Those of the node's own network namespace only.
    Host,
    /// None: all traffic is translated on the wire.
    Off,
}

/// Where the control plane listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlAddress {
    /// A unix socket, not encrypted.
    Unix(PathBuf),
    /// `https://HOST:PORT`, with certificates on both sides.
    Tls(String),
    /// `http://HOST:PORT`, neither encrypted nor authenticated: only with `insecure`.
    Plain(String),
}

/// Files for mutual TLS with the control plane, in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The agent's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority that signed the control plane's certificate.
    pub ca: PathBuf,
}

/// All settings of the agent, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The Node object's name.
    pub node_name: String,
    /// The control plane; none: no control plane but the embedded one, if any.
    pub control: Option<ControlAddress>,
    /// Directory of manifests for an embedded control plane.
    pub manifests: Option<PathBuf>,
    /// Certificates for [`ControlAddress::Tls`].
    pub tls: Option<TlsFiles>,
    /// Network devices; empty: those with a default route.
    pub interfaces: Vec<String>,
    /// The node's addresses; empty: the global addresses of its network devices.
    pub node_addresses: Vec<IpAddr>,
    /// Where pods' addresses come from; empty: the Node object says.
    pub pod_cidrs: Vec<IpNet>,
    /// The cgroup v2 directory whose sockets are translated; none: the root of the cgroup2 mount.
    pub cgroup: Option<PathBuf>,
    /// Which sockets are translated.
    pub socket_lb: SocketLb,
    /// Directory on bpffs for pins.
    pub bpf_root: PathBuf,
    /// Directory for state that survives a reboot.
    pub state_dir: PathBuf,
    /// The unix socket for the CLI and the CNI plugin.
    pub socket: PathBuf,
    /// Where health and metrics are served.
    pub health_address: SocketAddr,
    /// The node's zone; none: the Node object says.
    pub zone: Option<String>,
    /// First and last source port for connections that are sent on to another node.
    pub nat_ports: (u16, u16),
}
