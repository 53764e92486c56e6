//! Routes: to other nodes' pods, to this node's pods, and a pod's own.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use rtnetlink::RouteMessageBuilder;

use super::{Error, Link, Netlink, ignore_missing};

/// Marks the routes that are Fairway's own (`proto 250` in `ip route`); all others are left alone.
/// Those without a gateway to a single address lead to a pod of this node, all others to other nodes' pods.
pub const ROUTE_PROTOCOL: u8 = 250;

/// A route to another node's pods that could not be set or removed.
#[derive(Debug, thiserror::Error)]
#[error("the route to `{destination}` is not as it should be")]
pub struct RouteFailure {
    /// The pods' range.
    pub destination: IpNet,
    /// The cause.
    #[source]
    pub source: Error,
}

/// How a route leads to other nodes' pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// By a node's address, on a link that both share.
    Gateway(IpAddr),
    /// By the device of tunnels.
    Tunnel {
        /// Its index.
        device: u32,
        /// What the node's own packets come from; none: the kernel says.
        source: Option<IpAddr>,
    },
}

/// A route in the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    destination: IpNet,
    gateway: Option<IpAddr>,
    /// What the node's own packets come from.
    source: Option<IpAddr>,
    /// Indices of the devices it leads through.
    links: Vec<u32>,
    protocol: RouteProtocol,
    metric: u32,
}

impl Netlink {
    /// The devices that default routes lead through, best metric first.
    pub async fn default_route_links(&self) -> Result<Vec<Link>, Error> {
        let mut routes = self.routes().await?;
        routes.retain(|route| route.destination.prefix_len() == 0);
        routes.sort_by_key(|route| route.metric);
        let mut links: Vec<Link> = Vec::new();
        for index in routes.into_iter().flat_map(|route| route.links) {
            if links.iter().all(|link| link.index != index) {
                links.extend(self.link_by_index(index).await?);
            }
        }
        Ok(links)
    }

    /// Makes Fairway's routes to other nodes' pods exactly these; an IPv4 range may have an IPv6 gateway. Routes that
    /// fail are returned, the rest goes on; an error means that nothing could be listed and nothing was changed.
    pub async fn sync_routes(&self, desired: &[(IpNet, Via)]) -> Result<Vec<RouteFailure>, Error> {
        let desired: BTreeMap<IpNet, Via> =
            desired.iter().map(|(destination, via)| (destination.trunc(), *via)).collect();
        let routes = self.routes().await?;
        let present: BTreeMap<IpNet, Via> =
            routes.iter().filter_map(|route| Some((route.destination, to_nodes(route)?))).collect();
        let mut failures = Vec::new();
        for (&destination, &via) in present.iter().filter(|(it, _)| !desired.contains_key(it)) {
            let result = self.delete_route(destination, via).await;
            failures.extend(result.err().map(|source| RouteFailure { destination, source }));
        }
        for (&destination, &via) in desired.iter().filter(|&(it, via)| present.get(it) != Some(via)) {
            let result = self.put_route(destination, via, present.contains_key(&destination)).await;
            failures.extend(result.err().map(|source| RouteFailure { destination, source }));
        }
        Ok(failures)
    }

    async fn put_route(&self, destination: IpNet, via: Via, replace: bool) -> Result<(), Error> {
        let what = "setting the route to";
        let message = to_node(destination, via).map_err(|source| Error::Refused {
            what,
            subject: destination.to_string(),
            source,
        })?;
        let add = self.handle.route().add(message);
        let add = if replace { add.replace() } else { add };
        add.execute().await.map_err(Error::refused(what, destination))
    }

    async fn delete_route(&self, destination: IpNet, via: Via) -> Result<(), Error> {
        let Ok(message) = to_node(destination, via) else { return Ok(()) };
        let delete = self.handle.route().del(message).execute();
        ignore_missing(delete.await.map_err(Error::refused("removing the route to", destination)))
    }

    /// Sets the route to a pod of this node.
    pub(crate) async fn put_pod_route(&self, link: &Link, address: IpAddr) -> Result<(), Error> {
        let add = self.handle.route().add(to_pod(link, address)).replace().execute();
        add.await.map_err(Error::refused("setting the route to", address))
    }

    /// Removes it; one that is not there is a success.
    pub(crate) async fn delete_pod_route(&self, link: &Link, address: IpAddr) -> Result<(), Error> {
        let delete = self.handle.route().del(to_pod(link, address)).execute();
        ignore_missing(delete.await.map_err(Error::refused("removing the route to", address)))
    }

    /// Sets a pod's default route. The gateway needs no address or route of its own on the link. `mtu`: the largest
    /// packet on this way, if that is less than the link's.
    pub(crate) async fn put_default_route(
        &self,
        link: &Link,
        gateway: IpAddr,
        mtu: Option<u32>,
    ) -> Result<(), Error> {
        let mut message = through(link, everywhere(gateway));
        message.header.flags |= RouteFlags::Onlink;
        message.attributes.push(RouteAttribute::Gateway(gateway.into()));
        message.attributes.extend(mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
        let add = self.handle.route().add(message).replace().execute();
        add.await.map_err(Error::refused("setting the default route through", gateway))
    }

    /// The addresses of this node's pods that routes lead to, and the index of the device that each leads through.
    pub(crate) async fn pod_routes(&self) -> Result<Vec<(IpAddr, u32)>, Error> {
        let routes = self.routes().await?;
        let pods = routes.iter().filter(|route| is_own(route) && to_nodes(route).is_none());
        Ok(pods.filter_map(|route| Some((route.destination.addr(), *route.links.first()?))).collect())
    }

    /// Whether a route to exactly this range leads through this link.
    pub(crate) async fn has_route(&self, link: &Link, destination: IpNet) -> Result<bool, Error> {
        let routes = self.routes().await?;
        Ok(routes.iter().any(|route| route.destination == destination && route.links.contains(&link.index)))
    }

    /// The destinations of the routes that agents set: those to other nodes, and, if wanted, those to pods of this node.
    pub(crate) async fn own_routes(&self, pods: bool) -> Result<Vec<IpNet>, Error> {
        let routes = self.routes().await?;
        let own = routes.iter().filter(|route| is_own(route) && (pods || to_nodes(route).is_some()));
        Ok(own.map(|route| route.destination).collect())
    }

    /// Removes those.
    pub(crate) async fn delete_own_routes(&self, pods: bool) -> Result<(), Error> {
        for route in self.routes().await?.iter().filter(|route| is_own(route)) {
            match (to_nodes(route), route.links.first()) {
                (Some(via), _) => self.delete_route(route.destination, via).await?,
                (None, Some(index)) if pods => {
                    let Some(link) = self.link_by_index(*index).await? else { continue };
                    self.delete_pod_route(&link, route.destination.addr()).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn routes(&self) -> Result<Vec<Route>, Error> {
        let requests =
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        let mut routes = Vec::new();
        let _listing = self.listing.lock().await;
        for request in requests {
            let dump = self.handle.route().get(request).execute();
            let messages: Vec<_> =
                dump.try_collect().await.map_err(Error::refused("listing the routes of", "main"))?;
            routes.extend(messages.iter().filter_map(read));
        }
        Ok(routes)
    }
}

/// The default route's destination, in the family of `like`.
pub(crate) fn everywhere(like: IpAddr) -> IpNet {
    match like {
        IpAddr::V4(_) => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

fn is_own(route: &Route) -> bool {
    u8::from(route.protocol) == ROUTE_PROTOCOL
}

/// How an own route leads to other nodes' pods; none: to a pod of this node.
fn to_nodes(route: &Route) -> Option<Via> {
    let is_one = route.destination.prefix_len() == route.destination.max_prefix_len();
    match (route.gateway, route.links.first()) {
        _ if !is_own(route) => None,
        (Some(gateway), _) => Some(Via::Gateway(gateway)),
        (None, Some(device)) if !is_one => Some(Via::Tunnel { device: *device, source: route.source }),
        _ => None,
    }
}

fn to_node(destination: IpNet, via: Via) -> io::Result<RouteMessage> {
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .protocol(ROUTE_PROTOCOL.into())
        .destination_prefix(destination.network(), destination.prefix_len());
    let builder = builder.and_then(|builder| match via {
        Via::Gateway(gateway) => builder.gateway(gateway),
        Via::Tunnel { device, source: None } => Ok(builder.output_interface(device)),
        Via::Tunnel { device, source: Some(source) } => builder.output_interface(device).pref_source(source),
    });
    builder
        .map(RouteMessageBuilder::build)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn to_pod(link: &Link, address: IpAddr) -> RouteMessage {
    let mut message = through(link, IpNet::from(address));
    message.header.protocol = ROUTE_PROTOCOL.into();
    message.header.scope = RouteScope::Link;
    message
}

fn through(link: &Link, destination: IpNet) -> RouteMessage {
    match destination {
        IpNet::V4(net) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .output_interface(link.index)
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .output_interface(link.index)
            .build(),
    }
}

fn read(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let (mut destination, mut gateway, mut links, mut metric) = (any, None, Vec::new(), 0);
    let mut source = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = internet(address)?,
            RouteAttribute::Gateway(address) => gateway = internet(address),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some((*address).into()),
            RouteAttribute::PrefSource(address) => source = internet(address),
            RouteAttribute::Oif(index) => links.push(*index),
            RouteAttribute::MultiPath(hops) => links.extend(hops.iter().map(|hop| hop.interface_index)),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    Some(Route { destination, gateway, source, links, protocol: header.protocol, metric })
}

fn internet(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
