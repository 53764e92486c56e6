//! Network devices: look-ups, and the veth pairs of pods.

use std::fs::File;
use std::os::fd::AsRawFd;

use futures::TryStreamExt;
use netlink_packet_route::link::{
    InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::{Error, Netlink, ignore_missing};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, in its network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its largest packet, in bytes.
    pub mtu: u32,
    /// Its hardware address; zero where it has none.
    pub mac: [u8; 6],
    /// It is set up.
    pub up: bool,
    /// Its packets have an Ethernet header, which the kernel programs parse: a tunnel's have none.
    pub ethernet: bool,
}

/// A pair of devices: one in the node's network namespace, one in the pod's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Veth<'a> {
    pub(crate) node_interface: &'a str,
    pub(crate) node_mac: [u8; 6],
    pub(crate) interface: &'a str,
    pub(crate) pod_mac: [u8; 6],
    pub(crate) mtu: u32,
}

impl Netlink {
    /// The device with this name, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        Ok(self.look_up(name).await?.map(read))
    }

    /// The same with all that the kernel says of it.
    pub(super) async fn look_up(&self, name: &str) -> Result<Option<LinkMessage>, Error> {
        let links = self.handle.link().get().match_name(name).execute();
        found(links.try_collect().await.map_err(Error::refused("looking up the device", name)))
    }

    /// All devices.
    pub(crate) async fn links(&self) -> Result<Vec<Link>, Error> {
        let _listing = self.listing.lock().await;
        let links: Result<Vec<LinkMessage>, _> = self.handle.link().get().execute().try_collect().await;
        Ok(links
            .map_err(Error::refused("listing the devices of", "this node"))?
            .into_iter()
            .map(read)
            .collect())
    }

    /// The id of the XDP program that a device runs, if it runs one.
    pub(crate) async fn xdp(&self, name: &str) -> Result<Option<u32>, Error> {
        let links = self.handle.link().get().match_name(name).execute();
        let links: Vec<LinkMessage> =
            links.try_collect().await.map_err(Error::refused("looking up the device", name))?;
        let mut said = links.into_iter().flat_map(|link| link.attributes).filter_map(|it| match it {
            LinkAttribute::Xdp(said) => Some(said),
            _ => None,
        });
        Ok(said.next().into_iter().flatten().find_map(|it| match it {
            LinkXdp::ProgId(id) => Some(id),
            _ => None,
        }))
    }

    /// The device with this index, if there is one.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>, Error> {
        let links = self.handle.link().get().match_index(index).execute();
        let found = found(links.try_collect().await.map_err(Error::refused("looking up the device", index)));
        Ok(found?.map(read))
    }

    /// The device with this name, which the caller has just made.
    pub(crate) async fn expect_link(&self, name: &str) -> Result<Link, Error> {
        self.link(name).await?.ok_or_else(|| Error::Refused {
            what: "looking up the device",
            subject: name.to_owned(),
            source: std::io::Error::from_raw_os_error(libc::ENODEV),
        })
    }

    /// Makes a pair of devices, both down, the far one in `netns`.
    pub(crate) async fn add_veth(&self, veth: Veth<'_>, netns: &File) -> Result<(), Error> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(veth.interface)
            .address(veth.pod_mac.to_vec())
            .mtu(veth.mtu)
            .setns_by_fd(netns.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(veth.node_interface, veth.interface)
            .address(veth.node_mac.to_vec())
            .mtu(veth.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        let add = self.handle.link().add(message).execute();
        add.await.map_err(Error::refused("adding the device pair", veth.node_interface))
    }

    /// Sets the text that `ip link` shows beside a device.
    pub(crate) async fn set_alias(&self, link: &Link, alias: &str) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(link.index).alias(alias).build();
        let set = self.handle.link().set(message).execute();
        set.await.map_err(Error::refused("naming the device", &link.name))
    }

    /// Sets a device up.
    pub(crate) async fn set_up(&self, link: &Link) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(link.index).up().build();
        let set = self.handle.link().set(message).execute();
        set.await.map_err(Error::refused("setting up the device", &link.name))
    }

    /// Deletes a device, and with it its peer, routes and neighbours; one that is not there is a success.
    pub(crate) async fn delete_link(&self, name: &str) -> Result<(), Error> {
        let Some(link) = self.link(name).await? else { return Ok(()) };
        let delete = self.handle.link().del(link.index).execute();
        ignore_missing(delete.await.map_err(Error::refused("deleting the device", name)))
    }
}

fn found(links: Result<Vec<LinkMessage>, Error>) -> Result<Option<LinkMessage>, Error> {
    match links {
        Ok(links) => Ok(links.into_iter().next()),
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(message: LinkMessage) -> Link {
    let up = message.header.flags.contains(LinkFlags::Up);
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let mut link =
        Link { index: message.header.index, name: String::new(), mtu: 0, mac: [0; 6], up, ethernet };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(mac) => link.mac = mac.try_into().unwrap_or_default(),
            _ => {}
        }
    }
    link
}
