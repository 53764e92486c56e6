//! The only room that speaks netlink: links, addresses, routes, neighbours.

use std::net::IpAddr;

use ipnet::IpNet;
use tokio::sync::watch;

/// Marks the routes that are Fairway's own (`proto 250` in `ip route`); all others are left alone.
/// Those with a gateway lead to other nodes' pods, those without one to a pod of this node.
pub const ROUTE_PROTOCOL: u8 = 250;

/// Why the kernel's network configuration could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {}

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
}

/// A route to another node's pods that could not be set or removed.
#[derive(Debug, thiserror::Error)]
#[error("the route to `{destination}` could not be changed")]
pub struct RouteFailure {
    /// The pods' range.
    pub destination: IpNet,
    /// The cause.
    #[source]
    pub source: Error,
}

/// A connection to the kernel's network configuration in one network namespace.
#[derive(Clone, Debug)]
pub struct Netlink {}

impl Netlink {
    /// Connects in the calling thread's network namespace. To be called inside a tokio runtime.
    pub fn connect() -> Result<Self, Error> {
        unimplemented!()
    }

    /// The device with this name, if there is one.
    pub async fn link(&self, _name: &str) -> Result<Option<Link>, Error> {
        unimplemented!()
    }

    /// The device with this index, if there is one.
    pub async fn link_by_index(&self, _index: u32) -> Result<Option<Link>, Error> {
        unimplemented!()
    }

    /// The devices that default routes lead through, best metric first.
    pub async fn default_route_links(&self) -> Result<Vec<Link>, Error> {
        unimplemented!()
    }

    /// The usable global addresses of these devices, in the order of the devices and of the kernel.
    pub async fn addresses(&self, _interfaces: &[String]) -> Result<Vec<IpAddr>, Error> {
        unimplemented!()
    }

    /// Changes whenever an address, a device or a route may have changed; several changes may show as one.
    /// To be called in the thread of the wanted network namespace, inside a tokio runtime.
    pub fn watch(&self) -> Result<watch::Receiver<()>, Error> {
        unimplemented!()
    }

    /// Makes Fairway's routes with a gateway exactly these. Routes that fail are returned, the rest goes on;
    /// an error means that nothing could be listed and nothing was changed.
    pub async fn sync_routes(&self, _desired: &[(IpNet, IpAddr)]) -> Result<Vec<RouteFailure>, Error> {
        unimplemented!()
    }
}
