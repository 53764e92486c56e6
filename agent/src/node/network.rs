//! The node's network devices and addresses, now and as they change.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use fairway_datapath::Datapath;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Error, Shared, wire};
use crate::config::Config;
use crate::netlink::{Link, Netlink};
use crate::resolve::LocalNode;
use crate::sync::chain;

/// Ethernet's, where no device says otherwise.
const MTU: u32 = 1500;

/// The devices and what this node is.
pub(super) struct Network {
    links: Vec<Link>,
    sources: Vec<IpAddr>,
    local: watch::Sender<LocalNode>,
    changes: watch::Receiver<()>,
}

impl Network {
    pub(super) async fn detect(config: &Config, netlink: &Netlink) -> Result<Self, Error> {
        // Watched before they are read: no change is missed.
        let changes = netlink.watch()?;
        let links = links(config, netlink).await?;
        if let Some(name) = config.interfaces.iter().find(|name| !links.iter().any(|it| it.name == **name)) {
            return Err(Error::NoInterface { name: name.clone() });
        }
        if let Some(link) = links.iter().find(|link| !link.ethernet) {
            return Err(Error::NotEthernet { name: link.name.clone() });
        }
        if links.is_empty() {
            return Err(Error::NoDefaultRoute);
        }
        let addresses = addresses(config, netlink, &links).await?;
        if addresses.is_empty() {
            warn!("the network devices have no global address yet: NodePorts are served when they have");
        }
        let sources = sources(&addresses, &[]);
        let zone = config.zone.clone();
        let node_port_addresses = config.node_port_addresses.clone();
        let name = config.node_name.clone();
        let local = watch::Sender::new(LocalNode {
            name,
            addresses,
            zone,
            node_port_addresses,
            ..LocalNode::default()
        });
        Ok(Self { links, sources, local, changes })
    }

    /// This node, now and after each change.
    pub(super) fn local(&self) -> watch::Receiver<LocalNode> {
        self.local.subscribe()
    }

    /// What connections that this node sends on come from: one address of each family that it has.
    pub(super) fn sources(&self) -> Vec<IpAddr> {
        self.sources.clone()
    }

    pub(super) fn interfaces(&self) -> Vec<String> {
        self.links.iter().map(|link| link.name.clone()).collect()
    }

    /// The largest packet that fits all devices.
    pub(super) fn mtu(&self) -> u32 {
        self.links.iter().map(|link| link.mtu).min().unwrap_or(MTU)
    }

    /// Follows the kernel until `stop`.
    pub(super) async fn follow(mut self, shared: Arc<Shared>, stop: CancellationToken) {
        loop {
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() {
                    warn!("word of network changes has ended: new addresses are seen after a restart");
                    return;
                },
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.look(&shared).await {
                warn!("the node's network: {}", chain(&error));
            }
        }
    }

    async fn look(&mut self, shared: &Arc<Shared>) -> Result<(), Error> {
        let links = links(&shared.config, &shared.netlink).await?;
        for link in links.iter().filter(|link| !self.links.iter().any(|known| known.index == link.index)) {
            info!(device = %link.name, "a network device has appeared");
            attach(shared, link.name.clone()).await?;
            let (config, netlink, datapath) = (&shared.config, &shared.netlink, &shared.datapath);
            let wire = wire::attach(config, netlink, datapath, &link.name).await?;
            let mut wires = shared.wires.lock().unwrap_or_else(PoisonError::into_inner);
            wires.extend(wire.map(|wire| (link.name.clone(), wire)));
        }
        let addresses = addresses(&shared.config, &shared.netlink, &links).await?;
        self.links = links;
        // A node does not lose its last address for good: services at it stay until there is a new one.
        if !addresses.is_empty() {
            self.sources = sources(&addresses, &self.sources);
            use_addresses(shared, self.sources.clone()).await?;
            self.local.send_if_modified(|local| {
                let changed = local.addresses != addresses;
                local.addresses = addresses;
                changed
            });
        }
        Ok(())
    }
}

async fn attach(shared: &Arc<Shared>, interface: String) -> Result<(), Error> {
    let datapath = shared.datapath.clone();
    let attached = tokio::task::spawn_blocking(move || {
        datapath.lock().unwrap_or_else(PoisonError::into_inner).attach_network(&interface)
    });
    Ok(attached.await.map_err(|_| Error::Interrupted)??)
}

/// Connections that this node sends on take these addresses from now on (S30, S76).
async fn use_addresses(shared: &Arc<Shared>, addresses: Vec<IpAddr>) -> Result<(), Error> {
    let datapath = shared.datapath.clone();
    let used = tokio::task::spawn_blocking(move || Datapath::set_node_addresses(&datapath, &addresses));
    Ok(used.await.map_err(|_| Error::Interrupted)??)
}

/// One address of each family, which connections that this node sends on come from: what it was `before` as long as the
/// node has that, else the first.
fn sources(addresses: &[IpAddr], before: &[IpAddr]) -> Vec<IpAddr> {
    let one = |v6| {
        let of_family = |address: &&IpAddr| address.is_ipv6() == v6;
        let kept = before.iter().filter(of_family).find(|address| addresses.contains(address));
        kept.or_else(|| addresses.iter().find(of_family)).copied()
    };
    [one(false), one(true)].into_iter().flatten().collect()
}

/// The devices that are set, or the Ethernet devices with a default route.
async fn links(config: &Config, netlink: &Netlink) -> Result<Vec<Link>, Error> {
    if config.interfaces.is_empty() {
        let mut links = netlink.default_route_links().await?;
        links.retain(|link| link.ethernet);
        return Ok(links);
    }
    let mut links = Vec::new();
    for name in &config.interfaces {
        links.extend(netlink.link(name).await?);
    }
    Ok(links)
}

async fn addresses(config: &Config, netlink: &Netlink, links: &[Link]) -> Result<Vec<IpAddr>, Error> {
    if !config.node_addresses.is_empty() {
        return Ok(config.node_addresses.clone());
    }
    let names: Vec<String> = links.iter().map(|link| link.name.clone()).collect();
    Ok(netlink.addresses(&names).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    // S30
    #[test]
    fn the_source_of_sent_on_connections_stays_as_long_as_the_node_has_it() {
        let before = sources(&all("fd00::1 192.0.2.1 192.0.2.2"), &[]);
        assert_eq!(before, all("192.0.2.1 fd00::1"));
        // The kernel names the newest IPv6 address first.
        assert_eq!(sources(&all("192.0.2.2 192.0.2.1 fd00::2 fd00::1"), &before), before);
        assert_eq!(sources(&all("192.0.2.2 fd00::2 fd00::1"), &before), all("192.0.2.2 fd00::1"));
        assert_eq!(sources(&all("192.0.2.2"), &before), all("192.0.2.2"));
        assert_eq!(sources(&all("192.0.2.2 fd00::3"), &all("192.0.2.2")), all("192.0.2.2 fd00::3"));
    }
}
