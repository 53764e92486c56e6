//! Tunnels to other nodes: their device, and what fits.

use std::net::IpAddr;

use fairway_datapath::TunnelDevice;

use super::Error;
use crate::config::{Config, Routing};
use crate::netlink::Netlink;
use crate::pods;

/// Bytes around an IP packet in a tunnel: Ethernet, VXLAN (RFC 7348), UDP, and the outer header of IPv4 or IPv6.
pub(super) fn overhead(v6: bool) -> u32 {
    14 + 8 + 8 + if v6 { 40 } else { 20 }
}

/// The largest packet in a tunnel. `underlay`: that of the node's network device.
pub(super) fn mtu(underlay: u32, addresses: &[IpAddr]) -> u32 {
    underlay.saturating_sub(overhead(!addresses.iter().any(IpAddr::is_ipv4)))
}

/// Makes the device of tunnels, or removes it where there are none.
pub(super) async fn ensure(
    config: &Config,
    netlink: &Netlink,
    mtu: u32,
) -> Result<Option<TunnelDevice>, Error> {
    let Routing::Vxlan { id, port } = config.routing else {
        netlink.delete_tunnel().await?;
        return Ok(None);
    };
    let link = netlink.put_tunnel(port, mtu).await.map_err(|source| Error::NoTunnel { port, source })?;
    pods::of_node_device(&link.name, true)?;
    Ok(Some(TunnelDevice { ifindex: link.index, id, port }))
}
