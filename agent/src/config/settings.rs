//! Every setting once: its name, form, default and description.

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One,
    /// Any number of values: a list in the file, separated by commas elsewhere.
    Many,
    /// `true` or `false`; the flag takes no value.
    Switch,
}

/// A setting: `--key` as a flag, `FAIRWAY_KEY` in the environment, `key` in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// What stands for the value in the help.
    pub placeholder: &'static str,
    /// The value where none is set; empty: none.
    pub default: &'static str,
    /// One line for people.
    pub help: &'static str,
}

impl Setting {
    /// The name of its environment variable.
    pub fn env(&self) -> String {
        format!("FAIRWAY_{}", self.key.to_uppercase().replace('-', "_"))
    }
}

const fn setting(
    key: &'static str,
    shape: Shape,
    placeholder: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, shape, placeholder, default, help }
}

use Shape::{Many, One, Switch};

/// Every setting of the agent.
pub const SETTINGS: &[Setting] = &[
    setting("node-name", One, "NAME", "", "The Node object's name; the host's name if unset"),
    setting(
        "control",
        Many,
        "ADDRESS",
        "",
        "The control plane: unix:///PATH, https://HOST:PORT or http://HOST:PORT; if repeated, all that serve the same",
    ),
    setting("manifests", One, "DIR", "", "Serve the manifests in this directory, without a control plane"),
    setting(
        "kubernetes",
        Switch,
        "",
        "false",
        "Serve a cluster as its API server has it, without a control plane: for machines of one node, or for tests",
    ),
    setting(
        "kubeconfig",
        One,
        "FILE",
        "",
        "With kubernetes: how the API server is reached; KUBECONFIG, or the pod's service account, if unset",
    ),
    setting(
        "kube-context",
        One,
        "NAME",
        "",
        "With kubernetes: the kubeconfig's context; its current one if unset",
    ),
    setting(
        "kube-server",
        One,
        "URL",
        "",
        "With kubernetes: the API server's own address, such as https://192.0.2.10:6443",
    ),
    setting(
        "service-proxy-name",
        One,
        "NAME",
        "",
        "With kubernetes: serve only what has the label service.kubernetes.io/service-proxy-name with this value",
    ),
    setting(
        "allow-mass-delete",
        Switch,
        "",
        "false",
        "With kubernetes: more than half of the Services may go away at once; else they are listed once more first",
    ),
    setting("tls-cert", One, "FILE", "", "The agent's certificate for the control plane, PEM"),
    setting("tls-key", One, "FILE", "", "The key of the agent's certificate, PEM"),
    setting("tls-ca", One, "FILE", "", "The authority that signed the control plane's certificate, PEM"),
    setting("insecure", Switch, "", "false", "Allow a control plane at http://, for tests"),
    setting(
        "interface",
        Many,
        "IFACE",
        "",
        "A network device (repeatable); those with a default route if unset",
    ),
    setting(
        "node-address",
        Many,
        "IP",
        "",
        "An address of the node (repeatable); the global ones of its network devices if unset",
    ),
    setting(
        "pod-cidr",
        Many,
        "CIDR",
        "",
        "A range of pods' addresses (repeatable); the Node object says if unset",
    ),
    setting(
        "cgroup",
        One,
        "DIR",
        "",
        "The cgroup v2 directory whose sockets are translated; the root of the mount if unset",
    ),
    setting("socket-lb", One, "all|host|off", "all", "Whose connections are translated at the socket"),
    setting(
        "xdp",
        One,
        "off|auto|native|generic",
        "off",
        "Send packets of connections to other nodes back at the network devices' drivers; auto: native where they can",
    ),
    setting(
        "forwarding",
        One,
        "snat|dsr-l2|dsr-ipip",
        "snat",
        "How packets from outside go to other nodes' backends: with this node's address; as they are, which Maglev Services \
         can, over one link, or in IP in IP by any way",
    ),
    setting("bpf-root", One, "DIR", "/sys/fs/bpf/fairway", "Where maps and links are pinned"),
    setting("state-dir", One, "DIR", "/var/lib/fairway", "State that survives a reboot"),
    setting(
        "socket",
        One,
        "PATH",
        "/run/fairway/agent.sock",
        "The unix socket for the CLI and the CNI plugin",
    ),
    setting(
        "cni-conf",
        One,
        "PATH",
        "",
        "Write the network configuration for container runtimes here, such as /etc/cni/net.d/10-fairway.conflist",
    ),
    setting(
        "health-address",
        One,
        "ADDRESS",
        "127.0.0.1:10256",
        "Where /healthz, /livez, /readyz and /metrics are served",
    ),
    setting(
        "metrics-address",
        One,
        "ADDRESS",
        "",
        "Where /metrics is served instead, with the other pages (kube-proxy: 127.0.0.1:10249)",
    ),
    setting("zone", One, "ZONE", "", "The node's zone; the Node object says if unset"),
    setting(
        "nat-ports",
        One,
        "FIRST-LAST",
        "1024-29999",
        "Source ports for connections that are sent on to another node",
    ),
    setting(
        "conntrack-tcp-established",
        One,
        "TIME",
        "6h",
        "A TCP connection is forgotten after this silence (kube-proxy: --conntrack-tcp-timeout-established)",
    ),
    setting("conntrack-tcp-syn-sent", One, "TIME", "1m", "As long as the server has not answered"),
    setting(
        "conntrack-tcp-fin-wait",
        One,
        "TIME",
        "2m",
        "After one side has closed (kube-proxy: --conntrack-tcp-timeout-close-wait)",
    ),
    setting("conntrack-tcp-closing", One, "TIME", "10s", "After both sides have closed"),
    setting(
        "conntrack-udp",
        One,
        "TIME",
        "30s",
        "UDP without an answer (kube-proxy: --conntrack-udp-timeout)",
    ),
    setting(
        "conntrack-udp-stream",
        One,
        "TIME",
        "2m",
        "UDP with answers (kube-proxy: --conntrack-udp-timeout-stream)",
    ),
    setting(
        "service-cidr",
        Many,
        "CIDR",
        "",
        "The range of cluster IPs (repeatable, one of each family): packets to free addresses in it stay on the node",
    ),
    setting(
        "node-port-addresses",
        Many,
        "CIDR|primary",
        "",
        "Addresses of nodes that have NodePorts: CIDRs (repeatable), or `primary`; all if unset",
    ),
    setting(
        "routing",
        One,
        "native|vxlan",
        "native",
        "How packets reach other nodes' pods: by routes to the nodes' addresses, or in tunnels to them",
    ),
    setting("vxlan-id", One, "VNI", "1", "The number of the tunnels' network, the same on all nodes"),
    setting("vxlan-port", One, "PORT", "4789", "The UDP port of tunnels, the same on all nodes"),
    setting(
        "masquerade",
        One,
        "all|ipv4|ipv6|none",
        "all",
        "Of which families pods' packets to addresses outside of the cluster take the node's address",
    ),
    setting(
        "masquerade-exclude",
        Many,
        "CIDR",
        "",
        "Addresses outside of the cluster to which pods show their own (repeatable)",
    ),
    setting(
        "masquerade-all",
        Switch,
        "",
        "false",
        "Every connection to a Service comes from the node's address: nothing is translated at sockets",
    ),
];
