//! Addresses as people write them: leading zeros (S18) and stray spaces (S19) are normalised.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// An address in text form.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if text.contains(':') {
        return text.parse().ok();
    }
    let octets = text
        .split('.')
        .map(decimal)
        .collect::<Option<Vec<u8>>>()
        .and_then(|all| <[u8; 4]>::try_from(all).ok())?;
    Some(Ipv4Addr::from(octets).into())
}

/// A CIDR in text form; bits behind the prefix are cleared.
pub(crate) fn cidr(text: &str) -> Option<IpNet> {
    let (network, prefix) = text.trim().split_once('/')?;
    IpNet::new(address(network)?, decimal(prefix)?).ok().map(|net| net.trunc())
}

fn decimal(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    // S18
    #[test]
    fn leading_zeros_are_decimal_and_normalised() {
        assert_eq!(address("172.30.0.041"), Some("172.30.0.41".parse().unwrap()));
        assert_eq!(address("1.2.3.004"), Some("1.2.3.4".parse().unwrap()));
        assert_eq!(cidr("203.0.113.000/025"), Some("203.0.113.0/25".parse().unwrap()));
    }

    // S19
    #[test]
    fn whitespace_around_a_range_is_trimmed() {
        assert_eq!(cidr(" 10.0.0.0/8\t"), Some("10.0.0.0/8".parse().unwrap()));
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in ["", "10.0.0", "10.0.0.256", "10.0.0.1.2", "+1.2.3.4", "fe80::1%eth0", "10.0.0.1/24"] {
            assert_eq!(address(text), None, "{text}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/"] {
            assert_eq!(cidr(text), None, "{text}");
        }
    }
}
