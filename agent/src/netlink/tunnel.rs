//! The device of tunnels to other nodes.

use fairway_datapath::common::network::TUNNEL_MAC;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{LinkUnspec, LinkVxlan};

use super::{Error, Link, Netlink};

/// The name of the device.
pub(crate) const TUNNEL: &str = "fw-vxlan";

impl Netlink {
    /// The tunnels' device, made if it is missing or of another shape, with this port and largest packet. Each of its
    /// packets says where it goes; nobody there asks by ARP or ND. A new one gets `index`, which programs know, if that
    /// is free. True: it was made.
    pub(crate) async fn put_tunnel(
        &self,
        port: u16,
        mtu: u32,
        index: Option<u32>,
    ) -> Result<(Link, bool), Error> {
        let present = self.look_up(TUNNEL).await?;
        let made = !present.as_ref().is_some_and(|message| is_of(message, port));
        if made {
            if present.is_some() {
                self.delete_link(TUNNEL).await?;
            }
            let again = match index {
                Some(index) => self.add_tunnel(port, mtu, index).await.is_ok(),
                None => false,
            };
            if !again {
                self.add_tunnel(port, mtu, 0).await?;
            }
        }
        let mut link = self.expect_link(TUNNEL).await?;
        if link.mtu != mtu || !link.up {
            let message = LinkUnspec::new_with_index(link.index).mtu(mtu).up().build();
            let set = self.handle.link().set(message).execute();
            set.await.map_err(Error::refused("setting up the device", TUNNEL))?;
            (link.mtu, link.up) = (mtu, true);
        }
        Ok((link, made))
    }

    /// `index` 0: any.
    async fn add_tunnel(&self, port: u16, mtu: u32, index: u32) -> Result<(), Error> {
        let mut message = LinkVxlan::new(TUNNEL, 0)
            .collect_metadata(true)
            .learning(false)
            .port(port)
            .address(TUNNEL_MAC.to_vec())
            .mtu(mtu)
            .arp(false)
            .build();
        message.header.index = index;
        let add = self.handle.link().add(message).execute();
        add.await.map_err(Error::refused("adding the device of tunnels", TUNNEL))
    }

    /// Deletes the device if it is there and Fairway's; routes go with it.
    pub(crate) async fn delete_tunnel(&self) -> Result<(), Error> {
        if self.has_tunnel().await? { self.delete_link(TUNNEL).await } else { Ok(()) }
    }

    /// Whether the device is there, and Fairway's.
    pub(crate) async fn has_tunnel(&self) -> Result<bool, Error> {
        Ok(self.link(TUNNEL).await?.is_some_and(|link| link.mac == TUNNEL_MAC))
    }
}

/// Whether the device is what [`Netlink::put_tunnel`] would make.
fn is_of(message: &LinkMessage, port: u16) -> bool {
    let ours = message
        .attributes
        .iter()
        .any(|it| matches!(it, LinkAttribute::Address(address) if address[..] == TUNNEL_MAC));
    let infos = message.attributes.iter().filter_map(|it| match it {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let infos: Vec<&LinkInfo> = infos.flatten().collect();
    let vxlan = infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Vxlan)));
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
        _ => None,
    });
    let has = |wanted: InfoVxlan| data.is_some_and(|data| data.contains(&wanted));
    ours && vxlan && has(InfoVxlan::CollectMetadata(true)) && has(InfoVxlan::Port(port))
}
