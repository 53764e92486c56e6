//! The agent's settings: from flags, environment, a file and defaults, in this order of precedence.

mod kube_proxy;
mod layers;
mod parse;
mod settings;
mod show;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use fairway_control::Kubernetes;
use fairway_datapath::{Timeouts, XdpMode};
use ipnet::IpNet;

pub use crate::resolve::NodePortAddresses;
pub use kube_proxy::Note;
pub use layers::{Origin, Sources, Value};
pub use settings::{SETTINGS, Setting, Shape};

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

/// Whether packets are looked at in the drivers of network devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xdp {
    /// No.
    Off,
    /// In native mode, at devices whose drivers can.
    Auto,
    /// In this mode.
    Mode(XdpMode),
}

/// How clients outside reach backends of other nodes by this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// With this node's address as their source: answers come back by it.
    Snat,
    /// As they are, over the link that nodes share: the other node answers.
    DsrL2,
    /// The same in a header of their own (IP in IP), to nodes wherever they are.
    DsrIpip,
}

/// How packets reach other nodes' pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// By routes to the nodes' addresses: all nodes share a link.
    Native,
    /// In tunnels (VXLAN, RFC 7348) to the nodes' addresses.
    Vxlan {
        /// The tunnels' network (VNI).
        id: u32,
        /// The UDP port.
        port: u16,
    },
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

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlAddress::Unix(path) => write!(f, "unix://{}", path.display()),
            ControlAddress::Tls(url) | ControlAddress::Plain(url) => f.write_str(url),
        }
    }
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

/// Why the settings are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not there or not readable.
    #[error("the settings file `{path}` cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}:{line}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// The file has a key that there is not.
    #[error("{path}:{line}: unknown setting `{key}`; did you mean `{nearest}`?")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The setting that looks most like it.
        nearest: &'static str,
    },
    /// The file is a Kubernetes object of another kind.
    #[error(
        "{path}: this is a `{kind}` of `{api_version}`, not a KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1; \
         `kubectl -n kube-system get configmap kube-proxy -o jsonpath='{{.data.config\\.conf}}'` prints a cluster's"
    )]
    NotKubeProxy {
        /// The file.
        path: PathBuf,
        /// Its kind.
        kind: String,
        /// Its version.
        api_version: String,
    },
    /// The value does not fit.
    #[error("{origin}: {key}: `{value}` is not {expected}")]
    Invalid {
        /// Where the value was set.
        origin: Origin,
        /// The setting.
        key: &'static str,
        /// The value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// NAT ports overlap the node ports.
    #[error(
        "{origin}: nat-ports: `{value}` overlaps the node ports 30000-32767; \
         choose a range below 30000, for example 1024-29999"
    )]
    NatPorts {
        /// Where the value was set.
        origin: Origin,
        /// The value.
        value: String,
    },
    /// The control plane's address needs certificates.
    #[error("control: `{address}` needs certificates: set tls-cert, tls-key and tls-ca")]
    NoCertificates {
        /// The address.
        address: String,
    },
    /// The control plane's address is not protected.
    #[error(
        "control: `{address}` is neither encrypted nor authenticated: use https://, or set insecure on a test machine"
    )]
    Insecure {
        /// The address.
        address: String,
    },
    /// Two control planes.
    #[error(
        "only one of control, manifests and kubernetes can be set: the latter two run a control plane inside the agent"
    )]
    TwoControlPlanes,
    /// Direct answers need nodes on one link.
    #[error("forwarding: `dsr-l2` needs nodes that share a link: it goes with routing `native` only")]
    DirectInTunnels,
    /// The node's own name is not known.
    #[error("the host has no name: set node-name")]
    NoNodeName,
}

/// All settings of the agent, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The Node object's name.
    pub node_name: String,
    /// Where the control plane is, each of which serves the same; empty: none but the embedded one, if any.
    pub control: Vec<ControlAddress>,
    /// Directory of manifests for an embedded control plane.
    pub manifests: Option<PathBuf>,
    /// The cluster for an embedded control plane.
    pub kubernetes: Option<Kubernetes>,
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
    /// Whether packets are looked at in the drivers of network devices.
    pub xdp: Xdp,
    /// How clients outside reach backends of other nodes.
    pub forwarding: Forwarding,
    /// Directory on bpffs for pins.
    pub bpf_root: PathBuf,
    /// Directory for state that survives a reboot.
    pub state_dir: PathBuf,
    /// The unix socket for the CLI and the CNI plugin.
    pub socket: PathBuf,
    /// Where the network configuration for container runtimes is written; none: it is not.
    pub cni_conf: Option<PathBuf>,
    /// Where health is served, and metrics.
    pub health_address: SocketAddr,
    /// Where metrics are served instead.
    pub metrics_address: Option<SocketAddr>,
    /// The node's zone; none: the Node object says.
    pub zone: Option<String>,
    /// First and last source port for connections that are sent on to another node.
    pub nat_ports: (u16, u16),
    /// How long silent connections are kept, by state.
    pub timeouts: Timeouts,
    /// Where cluster IPs are given from, at most one range of each family.
    pub service_cidrs: Vec<IpNet>,
    /// Which addresses of nodes have NodePorts.
    pub node_port_addresses: NodePortAddresses,
    /// Every connection to a Service comes from the node's address (S21).
    pub masquerade_all: bool,
    /// How packets reach other nodes' pods.
    pub routing: Routing,
    /// IPv4, IPv6: pods' packets to the world take the node's address.
    pub masquerade: (bool, bool),
    /// Where pods show their own address all the same.
    pub masquerade_exclude: Vec<IpNet>,
}

/// The settings, and where each value comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Every setting with its value, in the order of [`SETTINGS`].
    pub values: Vec<(&'static Setting, Value)>,
    /// What kube-proxy's configuration says, if it is one of the sources, that does not hold.
    pub notes: Vec<Note>,
}

impl Config {
    /// Reads the settings from their sources.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its place and what to do.
    pub fn load(sources: &Sources<'_>) -> Result<Loaded, Error> {
        let (values, notes) = layers::merge(sources)?;
        let config = parse::config(&values)?;
        let values = SETTINGS
            .iter()
            .map(|setting| (setting, values.get(setting.key).cloned().unwrap_or_default()))
            .collect();
        Ok(Loaded { config, values, notes })
    }
}
