//! Options of `conntrack`, `affinity` and `nat`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::trace::Proto;

/// Verbs of `conntrack`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConntrackCommand {
    /// List translated connections
    #[command(
        visible_alias = "ls",
        before_help = "Examples:
  fairway conntrack list
  fairway ct list --svc default/web --state established
  fairway ct list --src 10.244.1.0/24 --proto udp
  fairway ct list --backend 10.244.1.7:8080 -o json | jq '.items | length'"
    )]
    List(Filter),
    /// Show a connection, both directions
    #[command(before_help = "Examples:
  fairway conntrack get 10.244.1.5:41822 10.96.0.10:80
  fairway ct get 10.244.1.5 10.96.0.10              every connection between the two
  fairway ct get 10.244.1.5 10.244.2.7:8080         by its backend

Exit 4 when there is none.")]
    Get {
        /// The client: IP or IP:PORT
        #[arg(value_name = "SRC")]
        source: Place,
        /// The Service address or the backend: IP or IP:PORT
        #[arg(value_name = "DST")]
        destination: Place,
        /// This IP protocol
        #[arg(long, value_enum, help_heading = "Filter")]
        proto: Option<Proto>,
    },
    /// Count translated connections
    #[command(before_help = "Examples:
  fairway conntrack count
  fairway ct count --by state
  fairway ct count --by svc --proto udp")]
    Count {
        /// A line for each of these
        #[arg(long, value_enum, value_name = "WHAT", help_heading = "Output")]
        by: Option<By>,
        #[command(flatten)]
        filter: Filter,
    },
    /// Who fills the table, the most connections first
    #[command(before_help = "Examples:
  fairway conntrack top                    by the client: pods by name, others by address
  fairway ct top --by svc --limit 5

SHARE is of the fuller of the two tables, IPv4 and IPv6; a connection takes two entries.")]
    Top {
        /// Whom to count for
        #[arg(long, value_enum, default_value = "pod", value_name = "WHAT", help_heading = "Output")]
        by: TopBy,
        /// At most so many lines
        #[arg(long, default_value = "20", value_name = "N", help_heading = "Output")]
        limit: usize,
    },
    /// End connections: their next packets find nothing
    #[command(before_help = "Examples:
  fairway conntrack flush --svc default/web --proto udp
  fairway ct flush --backend 10.244.1.7 --dry-run
  fairway ct flush --all

A filter is needed, or --all. A TCP connection that is ended does not come back by itself: its client is answered as
if it had never been.")]
    Flush {
        #[command(flatten)]
        filter: Filter,
        /// All connections
        #[arg(long, help_heading = "Filter")]
        all: bool,
        /// Only list what would be ended
        #[arg(long, help_heading = "Output")]
        dry_run: bool,
    },
}

/// Verbs of `affinity`.
#[derive(Debug, Subcommand)]
pub(crate) enum AffinityCommand {
    /// List the backends that clients keep
    #[command(
        visible_alias = "ls",
        before_help = "Examples:
  fairway affinity list
  fairway affinity list -n default -o wide

Clients that are seen at their sockets are network namespaces (netns:COOKIE); a UDP socket that is not connected is
socket:COOKIE."
    )]
    List,
}

/// Verbs of `nat`.
#[derive(Debug, Subcommand)]
pub(crate) enum NatCommand {
    /// List connections whose source is translated
    #[command(
        visible_alias = "ls",
        before_help = "Examples:
  fairway nat list
  fairway nat list --backend 10.244.2.7 -o wide"
    )]
    List(Filter),
    /// How much of the port range is in use, towards each backend
    #[command(before_help = "Examples:
  fairway nat count

Ports are used once for each backend address, port and protocol: a full range refuses connections to that one only.")]
    Count(Filter),
}

/// What connections are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The state.
    State,
    /// The protocol.
    Proto,
    /// The Service port.
    Svc,
    /// The client: a pod's name, or an address.
    Pod,
    /// The backend.
    Backend,
}

/// Whom `top` counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopBy {
    /// The client: a pod's name, or an address.
    Pod,
    /// The Service port.
    Svc,
}

/// States of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// TCP: the server has not answered yet.
    SynSent,
    /// Both sides have spoken.
    Established,
    /// UDP: the server has not answered.
    Unreplied,
    /// TCP: one side has closed.
    FinWait,
    /// TCP: both sides have closed.
    Closing,
    /// TCP: a reset was seen.
    Reset,
}

/// Which connections; all that is given must match.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// This IP protocol
    #[arg(long, value_enum, help_heading = "Filter")]
    pub(crate) proto: Option<Proto>,
    /// This client
    #[arg(long, value_name = "IP[:PORT]|CIDR", help_heading = "Filter")]
    pub(crate) src: Option<Place>,
    /// This Service address or backend
    #[arg(long, value_name = "IP[:PORT]|CIDR", help_heading = "Filter")]
    pub(crate) dst: Option<Place>,
    /// This Service address
    #[arg(long, value_name = "IP[:PORT]|CIDR", help_heading = "Filter")]
    pub(crate) frontend: Option<Place>,
    /// This backend
    #[arg(long, value_name = "IP[:PORT]|CIDR", help_heading = "Filter")]
    pub(crate) backend: Option<Place>,
    /// This Service
    #[arg(long, value_name = "NAMESPACE/NAME[:PORT]", alias = "service", help_heading = "Filter")]
    pub(crate) svc: Option<String>,
    /// This pod, at either end
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "Filter")]
    pub(crate) pod: Option<String>,
    /// This state
    #[arg(long, value_enum, help_heading = "Filter")]
    pub(crate) state: Option<State>,
}

impl Filter {
    /// Whether anything is given.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Addresses, and perhaps a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    net: IpNet,
    port: Option<u16>,
}

impl Place {
    /// Whether this address and port are meant.
    pub(crate) fn holds(&self, address: &str, port: u32) -> bool {
        let address = address.parse::<IpAddr>();
        address.is_ok_and(|address| self.net.contains(&address))
            && self.port.is_none_or(|wanted| u32::from(wanted) == port)
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(place) = text.parse::<SocketAddr>() {
            return Ok(Self { net: place.ip().into(), port: Some(place.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let net = bare.parse::<IpAddr>().map(IpNet::from).or_else(|_| bare.parse());
        net.map(|net| Self { net, port: None }).map_err(|_| "IP, IP:PORT, [IPv6]:PORT or CIDR")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_a_range_or_an_address_with_a_port() {
        let holds = |place: &str, address: &str, port| place.parse::<Place>().unwrap().holds(address, port);
        assert!(holds("10.0.0.1", "10.0.0.1", 7) && !holds("10.0.0.1", "10.0.0.2", 7));
        assert!(holds("10.0.0.1:80", "10.0.0.1", 80) && !holds("10.0.0.1:80", "10.0.0.1", 81));
        assert!(holds("10.0.0.0/8", "10.9.9.9", 1) && !holds("10.0.0.0/8", "fd00::1", 1));
        assert!(holds("[fd00::1]:53", "fd00::1", 53) && holds("fd00::/64", "fd00::2", 1));
        for wrong in ["web", "10.0.0.1:", "10.0.0.1:99999", ""] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
