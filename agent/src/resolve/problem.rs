//! What of the cluster is not served as it was asked for.

use std::net::IpAddr;

use fairway_proto::model::ObjectName;

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
    /// The annotation asks for an algorithm that there is not.
    #[error(
        "Service `{service}` picks backends at random: `{value}` in the annotation `{}` is no algorithm; use `random` or `maglev`",
        super::ALGORITHM
    )]
    Algorithm {
        /// The Service.
        service: ObjectName,
        /// The annotation's value.
        value: String,
    },
}
