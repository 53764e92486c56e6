//! Cables: the underlay's bridge, and `eth0` of every node and of the client.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use ipnet::IpNet;
use netlink_packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};

use super::{Netns, State};

const BRIDGE: &str = "underlay";

/// Why the world could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A namespace could not be made or entered.
    #[error("namespace `{name}`")]
    Netns {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a device, an address or a route.
    #[error("cannot make {what}")]
    Netlink {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: rtnetlink::Error,
    },
}

/// Builds the underlay, the nodes and the client of a lab.
pub(super) fn build(state: &State) -> Result<(), WireError> {
    let underlay = create(state, "underlay")?;
    netlink_in(&underlay, async |netlink| {
        netlink.link(LinkBridge::new(BRIDGE).up().build(), "the underlay's bridge").await
    })?;
    let gateway: Vec<IpAddr> = state.plan.client().iter().map(IpNet::addr).collect();
    let client = create(state, "client")?;
    plug(&underlay, &client, "client", &state.plan.client(), &[])?;
    for node in state.plan.node_names() {
        let number = state.plan.number(&node).unwrap_or_default();
        let netns = create(state, &node)?;
        forward(&netns)?;
        let routes: Vec<(IpNet, IpAddr)> = gateway.iter().map(|via| (default_of(*via), *via)).collect();
        plug(&underlay, &netns, &node, &state.plan.node(number), &routes)?;
    }
    netlink_in(&client, async |netlink| {
        let index = netlink.index("eth0").await?;
        for range in state.plan.external() {
            let node1 =
                state.plan.node(1).iter().map(IpNet::addr).find(|via| is_same_family(*via, range.addr()));
            if let Some(via) = node1 {
                netlink.route(index, range, via).await?;
            }
        }
        Ok(())
    })
}

/// Leads every node's pods' packets to the other nodes, as the agents do.
pub(super) fn join_pods(state: &State) -> Result<(), WireError> {
    let plan = state.plan;
    for name in plan.node_names() {
        netlink_in(&state.netns(&name), async |netlink| {
            let index = netlink.index("eth0").await?;
            for other in (1..=plan.nodes).filter(|other| plan.number(&name) != Some(*other)) {
                for range in plan.pod_cidrs(other) {
                    let via = plan
                        .node(other)
                        .iter()
                        .map(IpNet::addr)
                        .find(|via| is_same_family(*via, range.addr()));
                    if let Some(via) = via {
                        netlink.route(index, range, via).await?;
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Adds a route by `eth0`.
pub(super) fn route(netns: &Netns, range: IpNet, via: IpAddr) -> Result<(), WireError> {
    netlink_in(netns, async |netlink| {
        let index = netlink.index("eth0").await?;
        netlink.route(index, range, via).await
    })
}

fn create(state: &State, name: &str) -> Result<Netns, WireError> {
    let netns = state.netns(name);
    netns.create().map_err(|source| netns_error(&netns, source))?;
    netlink_in(&netns, async |netlink| netlink.up("lo").await)?;
    Ok(netns)
}

fn forward(netns: &Netns) -> Result<(), WireError> {
    netns
        .set_sysctls(&["net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"])
        .map_err(|source| netns_error(netns, source))
}

/// Joins `netns` to the bridge by a pair of devices, `port` and `eth0`.
fn plug(
    underlay: &Netns,
    netns: &Netns,
    port: &str,
    addresses: &[IpNet],
    routes: &[(IpNet, IpAddr)],
) -> Result<(), WireError> {
    let target = File::open(netns.path()).map_err(|source| netns_error(netns, source))?;
    netlink_in(underlay, async |netlink| {
        netlink.link(LinkVeth::new(port, "eth0").build(), "a pair of devices").await?;
        let peer = netlink.index("eth0").await?;
        let moved = LinkUnspec::new_with_index(peer).setns_by_fd(target.as_raw_fd()).build();
        netlink.set(moved, "the device's namespace").await?;
        let (own, bridge) = (netlink.index(port).await?, netlink.index(BRIDGE).await?);
        netlink
            .set(LinkUnspec::new_with_index(own).controller(bridge).up().build(), "the port of the bridge")
            .await
    })?;
    netlink_in(netns, async |netlink| {
        let index = netlink.index("eth0").await?;
        netlink.up("eth0").await?;
        for address in addresses {
            let added = netlink.0.address().add(index, address.addr(), address.prefix_len()).execute().await;
            added.map_err(|source| netlink_error(address, source))?;
        }
        for (range, via) in routes {
            netlink.route(index, *range, *via).await?;
        }
        Ok(())
    })
}

struct Netlink(Handle);

impl Netlink {
    async fn link(&self, link: LinkMessage, what: &str) -> Result<(), WireError> {
        self.0.link().add(link).execute().await.map_err(|source| netlink_error(what, source))
    }

    async fn set(&self, link: LinkMessage, what: &str) -> Result<(), WireError> {
        self.0.link().set(link).execute().await.map_err(|source| netlink_error(what, source))
    }

    async fn up(&self, device: &str) -> Result<(), WireError> {
        let index = self.index(device).await?;
        self.set(LinkUnspec::new_with_index(index).up().build(), device).await
    }

    async fn index(&self, device: &str) -> Result<u32, WireError> {
        use futures::TryStreamExt;
        let mut found = self.0.link().get().match_name(device.to_owned()).execute();
        let link = found.try_next().await.map_err(|source| netlink_error(device, source))?;
        Ok(link.map_or(0, |link| link.header.index))
    }

    async fn route(&self, index: u32, range: IpNet, via: IpAddr) -> Result<(), WireError> {
        let failed = |source| netlink_error(range, source);
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(range.network(), range.prefix_len())
            .and_then(|route| route.gateway(via));
        let route = route.map_err(|_| failed(rtnetlink::Error::RequestFailed))?;
        self.0.route().add(route.output_interface(index).build()).execute().await.map_err(failed)
    }
}

/// Runs `job` with a netlink connection of the namespace, on a thread of its own.
fn netlink_in<T: Send>(
    netns: &Netns,
    job: impl AsyncFnOnce(Netlink) -> Result<T, WireError> + Send,
) -> Result<T, WireError> {
    let done = netns.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = new_connection()?;
            tokio::spawn(connection);
            Ok(job(Netlink(handle)).await)
        })
    });
    done.map_err(|source| netns_error(netns, source))?
}

fn is_same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

fn default_of(via: IpAddr) -> IpNet {
    let any = if via.is_ipv4() {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
    };
    IpNet::new_assert(any, 0)
}

fn netns_error(netns: &Netns, source: io::Error) -> WireError {
    let name = netns.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    WireError::Netns { name, source }
}

fn netlink_error(what: impl ToString, source: rtnetlink::Error) -> WireError {
    WireError::Netlink { what: what.to_string(), source }
}
