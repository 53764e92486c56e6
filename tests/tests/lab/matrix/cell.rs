//! A cell: world, protocol, family, client, frontend, backend and policy.

use crate::world::Position;

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    /// A packet made by hand: the kernel need not know SCTP.
    Sctp,
}

/// What address the client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frontend {
    ClusterIp,
    /// At node1.
    NodePort1,
    /// At node2.
    NodePort2,
    /// At the client's own loopback address.
    NodePortLocalhost,
    /// Its packets from outside come by node1.
    Balancer,
    /// The same.
    ExternalIp,
    /// The backend's own address: no Service.
    Pod,
}

/// What endpoints the Service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A pod of node1.
    Local,
    /// A pod of node2.
    Remote,
    /// A process of node1.
    Host,
    /// A process of node2.
    HostRemote,
    /// The client.
    Itself,
    /// A machine that is no node.
    Outside,
    /// A pod of each node.
    Both,
    None,
    /// A pod of node1 that terminates and still serves.
    Ending,
    /// That, and a ready pod of node2.
    EndingAndReady,
}

/// What else the Service says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Default,
    ExternalLocal,
    InternalLocal,
    Affinity,
}

/// Whose sockets are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sockets {
    All,
    Host,
    Off,
    /// Nobody's; kube-proxy's rules translate the packets of all, those that a node sends to itself too.
    Nftables,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) sockets: Sockets,
    pub(crate) protocol: Protocol,
    pub(crate) v6: bool,
    pub(crate) client: Position,
    pub(crate) frontend: Frontend,
    pub(crate) backend: Backend,
    pub(crate) policy: Policy,
}

impl Protocol {
    pub(crate) const ALL: [(Self, &'static str); 3] =
        [(Self::Tcp, "tcp"), (Self::Udp, "udp"), (Self::Sctp, "sctp")];
}

impl Frontend {
    pub(crate) const ALL: [(Self, &'static str); 7] = [
        (Self::ClusterIp, "cluster-ip"),
        (Self::NodePort1, "node-port-1"),
        (Self::NodePort2, "node-port-2"),
        (Self::NodePortLocalhost, "node-port-localhost"),
        (Self::Balancer, "balancer"),
        (Self::ExternalIp, "external-ip"),
        (Self::Pod, "pod"),
    ];
}

impl Backend {
    pub(crate) const ALL: [(Self, &'static str); 10] = [
        (Self::Local, "local"),
        (Self::Remote, "remote"),
        (Self::Host, "host"),
        (Self::HostRemote, "host-remote"),
        (Self::Itself, "itself"),
        (Self::Outside, "outside"),
        (Self::Both, "both"),
        (Self::None, "none"),
        (Self::Ending, "ending"),
        (Self::EndingAndReady, "ending-and-ready"),
    ];
}

impl Policy {
    pub(crate) const ALL: [(Self, &'static str); 4] = [
        (Self::Default, "default"),
        (Self::ExternalLocal, "external-local"),
        (Self::InternalLocal, "internal-local"),
        (Self::Affinity, "affinity"),
    ];
}

impl Cell {
    /// All cells of a world.
    pub(crate) fn all(sockets: Sockets) -> Vec<Self> {
        let mut cells = Vec::new();
        for (protocol, _) in Protocol::ALL {
            for v6 in [false, true] {
                for client in Position::EVERY {
                    for (frontend, _) in Frontend::ALL {
                        for (backend, _) in Backend::ALL {
                            for (policy, _) in Policy::ALL {
                                cells.push(Self { sockets, protocol, v6, client, frontend, backend, policy });
                            }
                        }
                    }
                }
            }
        }
        cells
    }

    /// Whether the cell belongs to the short form: each value of each dimension beside the usual ones of the others.
    pub(crate) fn is_short(self) -> bool {
        let usual_client = Position::ALL.contains(&self.client);
        let doubled = matches!(self.frontend, Frontend::ExternalIp) && self.policy != Policy::Default;
        let single = matches!(self.backend, Backend::Host | Backend::HostRemote | Backend::Itself);
        (usual_client || self.backend == Backend::Both || single)
            && !doubled
            && (self.policy == Policy::Default || !single)
    }

    pub(crate) fn name(self) -> String {
        let sockets = match self.sockets {
            Sockets::All => "sockets-all",
            Sockets::Host => "sockets-host",
            Sockets::Off => "sockets-off",
            Sockets::Nftables => "nftables",
        };
        let family = if self.v6 { "ipv6" } else { "ipv4" };
        let parts = [
            sockets,
            named(&Protocol::ALL, self.protocol),
            family,
            self.client.name(),
            named(&Frontend::ALL, self.frontend),
            named(&Backend::ALL, self.backend),
            named(&Policy::ALL, self.policy),
        ];
        parts.join("/")
    }
}

/// The name of a value in the list of its kind.
pub(crate) fn named<T: Copy + PartialEq>(all: &[(T, &'static str)], value: T) -> &'static str {
    all.iter().find(|(other, _)| *other == value).map_or("", |(_, name)| name)
}
