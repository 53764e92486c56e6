//! Tunnels of the kernel's own between the nodes, for peers that have none: pods' packets take them as they take Fairway's.

use std::io;

use fairway_tests::lab::Lab;

const DEVICE: &str = "tunnel";

/// Makes a device on each node, and leads the other node's pods' packets into it.
pub(super) fn join(lab: &Lab) -> io::Result<()> {
    let plan = lab.state.plan;
    for (own, other) in [(1, 2), (2, 1)] {
        let (node, addresses) = (format!("node{own}"), [plan.node(own), plan.node(other)]);
        let [Some(local), Some(remote)] = addresses.map(|all| all.first().map(|net| net.addr().to_string()))
        else {
            continue;
        };
        let ends = ["local", &local, "remote", &remote, "dstport", "4790"];
        ip(lab, &node, &[&["link", "add", DEVICE, "type", "vxlan", "id", "7"], ends.as_slice()].concat())?;
        ip(lab, &node, &["link", "set", DEVICE, "up"])?;
        // Addresses of the tunnel's two ends, by which each asks for the other's hardware address.
        let inside = |number: u8, is_v4: bool| {
            if is_v4 { format!("10.99.0.{number}") } else { format!("fd99::{number}") }
        };
        for range in plan.pod_cidrs(other) {
            let is_v4 = range.addr().is_ipv4();
            let address = format!("{}/{}", inside(own, is_v4), if is_v4 { 24 } else { 64 });
            let (range, via) = (range.to_string(), inside(other, is_v4));
            ip(lab, &node, &["address", "add", &address, "dev", DEVICE])?;
            ip(lab, &node, &["route", "replace", &range, "via", &via, "dev", DEVICE])?;
        }
    }
    Ok(())
}

fn ip(lab: &Lab, node: &str, words: &[&str]) -> io::Result<()> {
    let output = lab.run(node, &[&["ip"], words].concat())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("`ip {}` on {node}: {said}", words.join(" "))))
}
