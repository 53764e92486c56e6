//! A node's network in a namespace without a name: it goes with the process.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::thread;

use futures::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::route::RouteType;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};

use super::frame::Mac;

/// Link address of the node's device.
pub(crate) const ETH0: Mac = [2, 0, 0, 0, 0, 1];
/// Link address of the other node.
pub(crate) const NODE2: Mac = [2, 0, 0, 0, 0, 2];
/// Link address of the client outside.
pub(crate) const CLIENT: Mac = [2, 0, 0, 0, 0, 9];

/// Devices of the node: the network's, then those of two pods.
const DEVICES: [&str; 3] = ["eth0", "pod1", "pod2"];

/// The namespace, and the indexes of [`DEVICES`].
pub(crate) struct Network {
    namespace: File,
    pub(crate) devices: [u32; 3],
}

impl Network {
    /// Builds it on a thread of its own.
    pub(crate) fn build() -> anyhow::Result<Self> {
        thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let namespace = File::open("/proc/thread-self/ns/net")?;
            for (path, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv6/conf/all/accept_dad", "0"),
                ("ipv6/conf/default/accept_dad", "0"),
            ] {
                std::fs::write(format!("/proc/sys/net/{path}"), value)?;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let devices = runtime.block_on(wire())?;
            Ok(Self { namespace, devices })
        })
        .join()
        .expect("the thread returns its errors")
    }

    /// Moves the calling thread into it.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.namespace, CloneFlags::CLONE_NEWNET)?)
    }
}

async fn wire() -> anyhow::Result<[u32; 3]> {
    let (connection, handle, _) = new_connection()?;
    tokio::spawn(connection);
    let mut devices = [0; 3];
    for (index, name) in devices.iter_mut().zip(DEVICES) {
        let peer = format!("{name}-peer");
        handle.link().add(LinkVeth::new(name, &peer).build()).execute().await?;
        for name in [peer.as_str(), name] {
            *index = index_of(&handle, name).await?;
            let mut link = LinkUnspec::new_with_index(*index);
            if name == "eth0" {
                link = link.address(ETH0.to_vec());
            }
            handle.link().set(link.up().build()).execute().await?;
        }
    }
    let eth0 = devices[0];
    for address in ["192.168.50.1/24", "fd00:50::1/64"] {
        let address: IpNet = address.parse()?;
        handle.address().add(eth0, address.addr(), address.prefix_len()).execute().await?;
    }
    for (address, mac) in
        [("192.168.50.2", NODE2), ("fd00:50::2", NODE2), ("192.168.50.9", CLIENT), ("fd00:50::9", CLIENT)]
    {
        handle.neighbours().add(eth0, address.parse()?).link_layer_address(&mac).execute().await?;
    }
    for (range, via) in [("10.200.2.0/24", "192.168.50.2"), ("fd00:10:200:2::/64", "fd00:50::2")] {
        let (range, via): (IpNet, IpAddr) = (range.parse()?, via.parse()?);
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(range.network(), range.prefix_len())?
            .gateway(via)?
            .output_interface(eth0);
        handle.route().add(route.build()).execute().await?;
    }
    for range in ["10.200.66.0/24", "fd00:10:200:66::/64"] {
        let range: IpNet = range.parse()?;
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(range.network(), range.prefix_len())?
            .kind(RouteType::Unreachable);
        handle.route().add(route.build()).execute().await?;
    }
    Ok(devices)
}

async fn index_of(handle: &Handle, name: &str) -> anyhow::Result<u32> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await?;
    Ok(link.ok_or_else(|| anyhow::anyhow!("no device `{name}`"))?.header.index)
}
