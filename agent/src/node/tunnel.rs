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

/// Makes the device of tunnels if it is not there, or removes it where there are none. `before`: what it was. True: it was
/// made.
pub(super) async fn ensure(
    config: &Config,
    netlink: &Netlink,
    mtu: u32,
    before: Option<TunnelDevice>,
) -> Result<(Option<TunnelDevice>, bool), Error> {
    let Routing::Vxlan { id, port } = config.routing else {
        netlink.delete_tunnel().await?;
        return Ok((None, false));
    };
    let index = before.map(|device| device.ifindex);
    let put = netlink.put_tunnel(port, mtu, index).await;
    let (link, made) = put.map_err(|source| Error::NoTunnel { port, source })?;
    pods::of_node_device(&link.name, true)?;
    Ok((Some(TunnelDevice { ifindex: link.index, id, port }), made))
}
