//! The listings: what one line of each holds, from the agent's answer and from the pinned maps.

mod address;
mod affinity;
mod backend;
mod connection;
mod drops;
mod endpoint;
mod frontend;
mod translation;

pub(crate) use address::{AddressRange, AllocatedAddress, Difference};
pub(crate) use affinity::Affinity;
pub(crate) use backend::Backend;
pub(crate) use connection::Connection;
pub(crate) use drops::{Count, Explanation};
pub(crate) use endpoint::Endpoint;
pub(crate) use frontend::{Frontend, with_backends};
pub(crate) use translation::Translation;

use fairway_proto::control::Protocol;

/// A text of the agent's; empty means that it is not known.
pub(crate) fn known(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The name of an IP protocol.
pub(crate) fn protocol_name(number: i32) -> String {
    match Protocol::try_from(number) {
        // Pings that took the node's address.
        Err(_) if number == 1 => "ICMP".to_owned(),
        Err(_) if number == 58 => "ICMPv6".to_owned(),
        Ok(Protocol::Unspecified) | Err(_) => number.to_string(),
        Ok(protocol) => protocol.as_str_name().to_owned(),
    }
}

/// Sorts addresses as numbers, IPv4 first; what is no address comes last, by its text.
fn address_order(text: &str) -> (bool, Option<std::net::IpAddr>, String) {
    let address = text.parse().ok();
    (address.is_none(), address, text.to_owned())
}

#[cfg(test)]
mod tests;
