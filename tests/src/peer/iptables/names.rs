//! Names of chains: kube-proxy hashes what they stand for, since the kernel's names are short.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};

use super::super::nftables::port::Port;

/// The chains of a Service port.
pub(super) struct Names {
    /// Chooses an endpoint.
    pub(super) service: String,
    /// What comes from outside.
    pub(super) external: String,
}

impl Names {
    pub(super) fn new(port: &Port) -> Self {
        let hash = hash(&[&port_name(port), &port.protocol]);
        Self { service: format!("KUBE-SVC-{hash}"), external: format!("KUBE-EXT-{hash}") }
    }
}

/// The chain of one endpoint.
pub(super) fn endpoint(port: &Port, target: SocketAddr) -> String {
    format!("KUBE-SEP-{}", hash(&[&port_name(port), &port.protocol, &target.to_string()]))
}

/// `NAMESPACE/SERVICE:PORT`, or without the port when that has no name.
pub(super) fn port_name(port: &Port) -> String {
    let parts: Vec<&str> = port.name.split('/').collect();
    match parts.as_slice() {
        [namespace, service, _, ""] => format!("{namespace}/{service}"),
        [namespace, service, _, name] => format!("{namespace}/{service}:{name}"),
        _ => port.name.clone(),
    }
}

/// The first 16 letters of the SHA-256 in base 32.
fn hash(parts: &[&str]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(parts.concat());
    // 16 letters of 5 bits are 10 bytes.
    let bits = digest.iter().take(10).fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    (0..16).rev().map(|place| char::from(LETTERS[(bits >> (place * 5) & 31) as usize])).collect()
}
