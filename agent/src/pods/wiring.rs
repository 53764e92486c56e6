//! A pod's device pair: made, addressed, routed on both sides.
//!
//! A pod has /32 and /128 addresses and a gateway that exists nowhere: a constant link-local address that the pod
//! knows the hardware address of, the one of the device on the node's side. Nobody ever asks by ARP or ND.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;

use super::fault::{self, Step};
use super::state::Record;
use super::{Error, Mtu, sysctl};
use crate::netlink::{Netlink, Veth, namespace};

/// Every pod's gateway.
const GATEWAYS: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(169, 254, 1, 1), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// Longest alias of a device, in bytes.
const ALIAS: usize = 255;

/// The gateway of a pod's address.
pub(super) fn gateway(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => GATEWAYS.0.into(),
        IpAddr::V6(_) => GATEWAYS.1.into(),
    }
}

/// Name of the device on the node's side. It is kept in the state, so that the hash may change between releases.
pub(super) fn node_interface(container_id: &str, interface: &str) -> String {
    format!("fw{:012x}", hash(container_id, interface, "name") >> 16)
}

/// Whether a device has a name that [`node_interface`] gives.
pub(super) fn is_node_interface(name: &str) -> bool {
    let digits = name.strip_prefix("fw").unwrap_or_default();
    digits.len() == 12 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Hardware addresses of the device in the pod and of the one on the node's side: locally administered.
pub(super) fn macs(container_id: &str, interface: &str) -> ([u8; 6], [u8; 6]) {
    let mac = |side| {
        let [_, _, first, rest @ ..] = hash(container_id, interface, side).to_be_bytes();
        [first & 0xfc | 2, rest[0], rest[1], rest[2], rest[3], rest[4]]
    };
    (mac("pod"), mac("node"))
}

fn hash(container_id: &str, interface: &str, what: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (container_id, interface, what).hash(&mut hasher);
    hasher.finish()
}

/// Opens a pod's network namespace, and connects to it.
pub(super) async fn enter(path: &str) -> Result<(File, Netlink), Error> {
    let failed = |source| Error::Netns { path: path.to_owned(), source };
    let netns = File::open(path).map_err(failed)?;
    let (theirs, ours) = (netns.metadata(), std::fs::metadata("/proc/thread-self/ns/net"));
    let (theirs, ours) = (theirs.map_err(failed)?, ours.map_err(failed)?);
    if (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()) {
        return Err(Error::OwnNetns { path: path.to_owned() });
    }
    match Netlink::inside(&netns).await {
        Ok(netlink) => Ok((netns, netlink)),
        Err(crate::netlink::Error::Open(source)) => Err(failed(source)),
        Err(other) => Err(other.into()),
    }
}

/// Makes the pod's devices and everything around them, and returns the index of the one on the node's side. After
/// an error, deleting that device removes whatever was made.
pub(super) async fn connect(
    node: &Netlink,
    pod: &Netlink,
    netns: &File,
    mtu: Mtu,
    record: &Record,
) -> Result<u32, Error> {
    // What an agent that lost its state may have left under this name.
    node.delete_link(&record.node_interface).await?;
    let veth = Veth {
        node_interface: &record.node_interface,
        node_mac: record.node_mac,
        interface: &record.interface,
        pod_mac: record.pod_mac,
        mtu: mtu.device,
    };
    node.add_veth(veth, netns).await?;
    fault::after(Step::Paired);
    connect_pod(pod, netns, mtu, record).await?;
    fault::after(Step::Inside);
    let index = connect_node(node, record).await?;
    fault::after(Step::Outside);
    Ok(index)
}

async fn connect_pod(pod: &Netlink, netns: &File, mtu: Mtu, record: &Record) -> Result<(), Error> {
    let (interface, v6) = (record.interface.clone(), has_v6(record));
    let set = namespace::run(netns, move || sysctl::of_pod_device(&interface, v6)).await;
    set.map_err(|source| Error::Netns { path: record.netns.clone(), source })??;
    if let Some(loopback) = pod.link("lo").await? {
        pod.set_up(&loopback).await?;
    }
    let link = pod.expect_link(&record.interface).await?;
    for &address in &record.addresses {
        pod.add_address(&link, address).await?;
    }
    if let Some(limit) = record.limits.egress {
        pod.put_limit(&link, limit).await?;
    }
    pod.set_up(&link).await?;
    for &address in &record.addresses {
        pod.put_neighbour(&link, gateway(address), record.node_mac).await?;
        pod.put_default_route(&link, gateway(address), mtu.route).await?;
    }
    Ok(())
}

/// Gives the routes of a pod that is there the largest packet of now.
pub(super) async fn reroute(record: &Record, mtu: Mtu) -> Result<(), Error> {
    let (_, pod) = enter(&record.netns).await?;
    let link = pod.expect_link(&record.interface).await?;
    for &address in &record.addresses {
        pod.put_default_route(&link, gateway(address), mtu.route).await?;
    }
    Ok(())
}

async fn connect_node(node: &Netlink, record: &Record) -> Result<u32, Error> {
    sysctl::of_node_device(&record.node_interface, has_v6(record))?;
    let link = node.expect_link(&record.node_interface).await?;
    node.set_alias(&link, &alias(record)).await?;
    if let Some(limit) = record.limits.ingress {
        node.put_limit(&link, limit).await?;
    }
    node.set_up(&link).await?;
    for &address in &record.addresses {
        node.put_neighbour(&link, address, record.pod_mac).await?;
        node.put_pod_route(&link, address).await?;
    }
    Ok(link.index)
}

fn has_v6(record: &Record) -> bool {
    record.addresses.iter().any(IpAddr::is_ipv6)
}

fn alias(record: &Record) -> String {
    let mut alias = match record.name.as_str() {
        "" => format!("fairway container {}", record.container_id),
        name => format!("fairway pod {}/{name}", record.namespace),
    };
    alias.truncate(alias.floor_char_boundary(ALIAS));
    alias
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_hardware_addresses_differ_by_container_and_device() {
        let name = node_interface("0123abcd", "eth0");
        assert!(is_node_interface(&name) && name.len() < 16, "{name}");
        assert!(!is_node_interface("fwmark0") && !is_node_interface("eth0"));
        assert_ne!(name, node_interface("0123abcd", "eth1"));
        assert_ne!(name, node_interface("0123abce", "eth0"));
        let (pod, node) = macs("0123abcd", "eth0");
        assert_ne!(pod, node);
        assert!([pod, node].iter().all(|mac| mac[0] & 3 == 2), "locally administered, unicast");
    }
}
