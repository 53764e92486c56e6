//! What of the cluster is not served as it was asked for.

use std::net::IpAddr;

use super::ServicePortName;

/// Something in the cluster that is not served as it was asked for, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Two Services claim one address, port and protocol.
    #[error(
        "Service `{loser}` is not served at {address} port {port}: `{winner}` has it; change one of the two"
    )]
    Claimed {
        /// The Service port that is not served there.
        loser: ServicePortName,
        /// The one that is.
        winner: ServicePortName,
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// A protocol that the data path cannot translate.
    #[error("Service `{name}` is not served: SCTP is not translated; use TCP or UDP")]
    Sctp {
        /// The Service port.
        name: ServicePortName,
    },
    /// loadBalancerSourceRanges cannot be enforced, so the addresses that they guard stay closed.
    #[error(
        "Service `{name}` is not served at its load balancer addresses: loadBalancerSourceRanges are not enforced yet; remove them to open it to everybody"
    )]
    SourceRanges {
        /// The Service port.
        name: ServicePortName,
    },
    /// sessionAffinity is asked for.
    #[error("Service `{name}` is served without session affinity: it is not implemented yet")]
    Affinity {
        /// The Service port.
        name: ServicePortName,
    },
}
