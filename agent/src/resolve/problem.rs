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
    /// A hostPort of a protocol that the data path cannot translate.
    #[error("hostPort {port} of pod `{pod}` is not served: SCTP is not translated; use TCP or UDP")]
    HostPortSctp {
        /// The pod.
        pod: ObjectName,
        /// The node's port.
        port: u16,
    },
    /// A hostPort at an address that the node does not have, or that is not served.
    #[error(
        "hostPort {port} of pod `{pod}` is not served: its hostIP {address} is no address of this node's network devices; \
         use one of them, 127.0.0.1, or none"
    )]
    HostIp {
        /// The pod.
        pod: ObjectName,
        /// The node's port.
        port: u16,
        /// The address that it asks for.
        address: IpAddr,
    },
    /// A hostPort that a Service, or another pod, has.
    #[error(
        "hostPort {port} of pod `{pod}` is not served at {address}: `{winner}` has it; use another port, such as one \
         outside of the range of NodePorts"
    )]
    HostPortTaken {
        /// The pod.
        pod: ObjectName,
        /// Who has it.
        winner: ServicePortName,
        /// The address.
        address: IpAddr,
        /// The node's port.
        port: u16,
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
