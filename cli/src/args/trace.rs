//! Options of `trace`.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fairway_proto::control::Protocol;

/// `trace`.
#[derive(Args, Debug)]
pub(crate) struct Trace {
    /// Packets of this pod
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "Filter")]
    pub(crate) pod: Option<String>,
    /// Connections to this Service
    #[arg(long, value_name = "NAMESPACE/NAME[:PORT]", alias = "service", help_heading = "Filter")]
    pub(crate) svc: Option<String>,
    /// This source or destination address
    #[arg(long, value_name = "IP", help_heading = "Filter")]
    pub(crate) address: Option<IpAddr>,
    /// This source or destination port
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Filter")]
    pub(crate) port: Option<u16>,
    /// This IP protocol
    #[arg(long, value_enum, help_heading = "Filter")]
    pub(crate) proto: Option<Proto>,
    /// Only what was refused or dropped
    #[arg(long, help_heading = "Filter")]
    pub(crate) drops: bool,
    /// Stop after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Stop")]
    pub(crate) count: Option<u64>,
    /// Stop after this time: 500ms, 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Stop")]
    pub(crate) duration: Option<Duration>,
    /// Exit with 1 when something was refused or dropped
    #[arg(long, help_heading = "Stop")]
    pub(crate) fail_on_drop: bool,
    /// Exit with 7 when events were lost
    #[arg(long, help_heading = "Stop")]
    pub(crate) strict: bool,
}

/// IP protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl From<Proto> for Protocol {
    fn from(proto: Proto) -> Self {
        match proto {
            Proto::Tcp => Protocol::Tcp,
            Proto::Udp => Protocol::Udp,
            Proto::Sctp => Protocol::Sctp,
        }
    }
}
