//! Whom the benchmark compares.

use clap::ValueEnum;

/// Who serves Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Peer {
    /// Nobody: a plain router between the pods, whose addresses are asked directly
    Clean,
    /// Fairway
    Fairway,
    /// Fairway without its socket hooks
    FairwayTc,
    /// kube-proxy's rules of its nftables mode
    Nftables,
    /// kube-proxy's rules of its iptables mode
    Iptables,
    /// The kernel's virtual server
    Ipvs,
    /// HAProxy, in user space, TCP mode
    Haproxy,
    /// kube-proxy itself, with --kube-proxy and --kube-apiserver
    KubeProxy,
}

impl Peer {
    /// Its name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether Fairway's agents serve it.
    #[must_use]
    pub fn is_fairway(self) -> bool {
        matches!(self, Self::Fairway | Self::FairwayTc)
    }

    /// Whether its packets go through the kernel's connection tracking.
    #[must_use]
    pub fn tracks(self) -> bool {
        matches!(self, Self::Nftables | Self::Iptables | Self::Ipvs | Self::KubeProxy)
    }
}
