//! Addresses of devices, and word of their changes.

use std::net::IpAddr;

use futures::{StreamExt, TryStreamExt};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rtnetlink::MulticastGroup;
use tokio::sync::watch;

use super::{Error, Link, Netlink};

impl Netlink {
    /// The usable global addresses of these devices, in the order of the devices, then of the kernel. Link-local
    /// addresses and those that are still (or failed to be) proven unique are left out, as are missing devices.
    pub async fn addresses(&self, interfaces: &[String]) -> Result<Vec<IpAddr>, Error> {
        let mut addresses = Vec::new();
        for interface in interfaces {
            let Some(link) = self.link(interface).await? else { continue };
            let _listing = self.listing.lock().await;
            let dump = self.handle.address().get().set_link_index_filter(link.index).execute();
            let messages: Vec<_> =
                dump.try_collect().await.map_err(Error::refused("listing the addresses of", interface))?;
            for address in messages.iter().filter_map(usable) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Ok(addresses)
    }

    /// Gives a device an address of its own (/32 or /128), at once usable.
    pub(crate) async fn add_address(&self, link: &Link, address: IpAddr) -> Result<(), Error> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let mut add = self.handle.address().add(link.index, address, prefix);
        if address.is_ipv6() {
            add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        add.execute().await.map_err(Error::refused("adding the address", address))
    }

    /// Changes whenever an address, a device or a route may have changed; several changes may show as one. The
    /// watch ends when the last receiver is dropped.
    /// To be called in a thread of the wanted network namespace, inside a tokio runtime.
    pub fn watch(&self) -> Result<watch::Receiver<()>, Error> {
        use MulticastGroup::{Ipv4Ifaddr, Ipv4Route, Ipv6Ifaddr, Ipv6Route, Link};
        let groups = [Link, Ipv4Ifaddr, Ipv6Ifaddr, Ipv4Route, Ipv6Route];
        let (connection, handle, mut messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(Error::Open)?;
        let (sender, receiver) = watch::channel(());
        let connection = tokio::spawn(connection);
        tokio::spawn(async move {
            // Every message counts, also the one that says that some were lost.
            loop {
                tokio::select! {
                    () = sender.closed() => break,
                    message = messages.next() => match message {
                        Some(_) => drop(sender.send(())),
                        None => break,
                    },
                }
            }
            drop(handle);
            connection.abort();
        });
        Ok(receiver)
    }
}

fn usable(message: &AddressMessage) -> Option<IpAddr> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            _ => {}
        }
    }
    let address = local.or(peer)?;
    let unproven = flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
        && !flags.contains(AddressFlags::Optimistic);
    // A privacy address goes within hours, and a deprecated one is on its way out: neither is a node's for others.
    let passing = matches!(address, IpAddr::V6(_))
        && flags.intersects(AddressFlags::Secondary | AddressFlags::Deprecated);
    let internet = matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6);
    let global = message.header.scope == AddressScope::Universe && !is_link_local(address);
    (internet && global && !unproven && !passing).then_some(address)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
