//! What follows from the Node objects: this node's pod ranges, the ways to the others' pods, and what is not the world.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fairway_datapath::{Datapath, Network, Tunnel, TunnelDevice};
use fairway_proto::model::Node;
use imbl::OrdMap;
use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Error, Shared, tunnel};
use crate::config::Forwarding;
use crate::netlink::{TUNNEL, Via};
use crate::resolve::LocalNode;
use crate::sync::{Origin, chain};

/// When what failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long changes of the node's network are gathered: adding a pod is some.
const GATHER: Duration = Duration::from_millis(500);

/// What is beyond this node, and the ways there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Beyond {
    routes: Vec<(IpNet, Via)>,
    networks: Vec<Network>,
}

/// How this node sees the others.
struct View<'a> {
    own: &'a LocalNode,
    own_ranges: &'a [IpNet],
    excluded: &'a [IpNet],
    /// The device of tunnels, and the largest packet of the device below it.
    tunnel: Option<(u32, u32)>,
    /// Clients' packets go to the other nodes in a header of their own.
    encloses: bool,
}

/// Keeps all of it up to date until `stop`. Without a state nothing is touched. `underlay`: the largest packet of the
/// node's network device.
pub(super) async fn keep(
    shared: Arc<Shared>,
    mut local: watch::Receiver<LocalNode>,
    underlay: u32,
    mut device: Option<TunnelDevice>,
    stop: CancellationToken,
) {
    let mut state = shared.state.subscribe();
    let mut changes = shared.netlink.watch().inspect_err(|error| warn!("{}", chain(error))).ok();
    let mut done: Option<OrdMap<String, Arc<Node>>> = None;
    // When to look again, whatever else comes before.
    let mut again: Option<Instant> = None;
    loop {
        let changed = async {
            match &mut changes {
                Some(changes) => changes.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = state.changed() => {}
            Ok(()) = local.changed() => done = None,
            goes_on = changed, if again.is_none() => {
                if !goes_on {
                    changes = None;
                }
                again = Some(Instant::now() + GATHER);
                continue;
            }
            () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                (done, again) = (None, None);
            }
            () = stop.cancelled() => return,
        }
        let latest = state.borrow_and_update().clone();
        if latest.origin == Origin::Kernel || done.as_ref() == Some(&latest.cluster.nodes) {
            continue;
        }
        let nodes = latest.cluster.nodes.clone();
        let own = local.borrow_and_update().clone();
        if let Some(changes) = &mut changes {
            changes.mark_unchanged();
        }
        let problems = set(&shared, &nodes, &own, underlay, &mut device).await;
        problems.iter().for_each(|problem| warn!("{problem}"));
        again = (!problems.is_empty()).then(|| Instant::now() + RETRY);
        shared.ways.send_replace(problems);
        done = Some(nodes);
    }
}

/// What is not as it should be after that, in one line each.
async fn set(
    shared: &Shared,
    nodes: &OrdMap<String, Arc<Node>>,
    own: &LocalNode,
    underlay: u32,
    device: &mut Option<TunnelDevice>,
) -> Vec<String> {
    let mut ranges = shared.config.pod_cidrs.clone();
    if ranges.is_empty()
        && let Some(node) = nodes.get(&shared.config.node_name)
    {
        ranges.clone_from(&node.pod_cidrs);
        shared.pods.set_cidrs(ranges.clone());
    }
    if let Err(error) = keep_tunnel(shared, own, underlay, device).await {
        return vec![chain(&error)];
    }
    let view = View {
        own,
        own_ranges: &ranges,
        excluded: &shared.config.masquerade_exclude,
        tunnel: device.map(|device| (device.ifindex, underlay)),
        encloses: shared.config.forwarding == Forwarding::DsrIpip,
    };
    let beyond = beyond(nodes, &view);
    if let Err(error) = tell(shared, beyond.networks).await {
        return vec![format!("what is known of other nodes: {}", chain(&error))];
    }
    match shared.netlink.sync_routes(&beyond.routes).await {
        Ok(failures) => failures.iter().map(|failure| chain(failure)).collect(),
        Err(error) => vec![format!("routes to other nodes' pods: {}", chain(&error))],
    }
}

/// Makes the device of tunnels again if somebody has removed or changed it.
async fn keep_tunnel(
    shared: &Shared,
    own: &LocalNode,
    underlay: u32,
    device: &mut Option<TunnelDevice>,
) -> Result<(), Error> {
    let mtu = tunnel::mtu(underlay, &own.addresses);
    let (present, made) = tunnel::ensure(&shared.config, &shared.netlink, mtu, *device).await?;
    if !made && present == *device {
        return Ok(());
    }
    info!(device = TUNNEL, "the device of tunnels was made again");
    // Until the programs know it: what fails here is tried again, with the device there already.
    *device = None;
    let datapath = shared.datapath.clone();
    let attached = tokio::task::spawn_blocking(move || {
        Datapath::set_tunnel(&datapath, present)?;
        datapath.lock().unwrap_or_else(PoisonError::into_inner).attach_tunnel(TUNNEL)
    });
    attached.await.map_err(|_| Error::Interrupted)??;
    *device = present;
    Ok(())
}

async fn tell(shared: &Shared, networks: Vec<Network>) -> Result<(), Error> {
    let datapath = shared.datapath.clone();
    let told = tokio::task::spawn_blocking(move || {
        datapath.lock().unwrap_or_else(PoisonError::into_inner).set_networks(&networks)
    });
    Ok(told.await.map_err(|_| Error::Interrupted)??)
}

fn first(addresses: &[IpAddr], v4: bool) -> Option<IpAddr> {
    addresses.iter().find(|address| address.is_ipv4() == v4).copied()
}

/// What is beyond this node. What is said later of an address counts.
fn beyond(nodes: &OrdMap<String, Arc<Node>>, view: &View<'_>) -> Beyond {
    let here = |range, node| Network { range, tunnel: None, node };
    let mut beyond = Beyond::default();
    beyond.networks.extend(view.excluded.iter().map(|range| here(range.trunc(), false)));
    beyond.networks.extend(view.own_ranges.iter().map(|range| here(range.trunc(), false)));
    beyond.networks.extend(view.own.addresses.iter().map(|address| here((*address).into(), true)));
    for node in nodes.values().filter(|node| node.name != view.own.name) {
        let there = |range: IpNet, is_node| {
            let v4 = range.addr().is_ipv4();
            let tunnel = match view.tunnel {
                Some((_, underlay)) => end(&node.addresses, view.own, underlay),
                // Without tunnels, what such packets are for: of their own family, and as long as the route says.
                None if view.encloses => {
                    first(&node.addresses, v4).map(|node| Tunnel { node, mtu: u16::MAX })
                }
                None => None,
            };
            Network { range, tunnel, node: is_node }
        };
        for range in node.pod_cidrs.iter().map(IpNet::trunc) {
            beyond.networks.push(there(range, false));
            beyond.routes.extend(way(node, range, view).map(|via| (range, via)));
        }
        beyond.networks.extend(node.addresses.iter().map(|address| there((*address).into(), true)));
    }
    beyond
}

/// The route to a range of another node's pods: into the tunnel, or by its first address of the family.
fn way(node: &Node, range: IpNet, view: &View<'_>) -> Option<Via> {
    let v4 = range.addr().is_ipv4();
    match view.tunnel {
        Some((device, _)) => Some(Via::Tunnel { device, source: first(&view.own.addresses, v4) }),
        None => first(&node.addresses, v4).map(Via::Gateway),
    }
}

/// The other end of the tunnel to a node: over IPv4 if both nodes have it.
fn end(addresses: &[IpAddr], own: &LocalNode, underlay: u32) -> Option<Tunnel> {
    let both = |v4| first(&own.addresses, v4).and_then(|_| first(addresses, v4));
    let node = both(true).or_else(|| both(false))?;
    let mtu = underlay.saturating_sub(tunnel::overhead(node.is_ipv6()));
    Some(Tunnel { node, mtu: u16::try_from(mtu).unwrap_or(u16::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(nodes: &[(&str, &[&str], &[&str])]) -> OrdMap<String, Arc<Node>> {
        let node = |(name, addresses, cidrs): &(&str, &[&str], &[&str])| Node {
            name: (*name).into(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            pod_cidrs: cidrs.iter().map(|text| text.parse().unwrap()).collect(),
            zone: None,
            object: None,
        };
        nodes.iter().map(node).map(|node| (node.name.clone(), Arc::new(node))).collect()
    }

    fn own(addresses: &[&str]) -> LocalNode {
        LocalNode {
            name: "a".into(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..LocalNode::default()
        }
    }

    #[test]
    fn routes_lead_to_the_other_nodes_by_family() {
        let nodes = nodes(&[
            ("a", &["192.168.0.1"], &["10.0.0.0/24"]),
            ("b", &["192.168.0.2", "fd00::2"], &["10.0.1.0/24", "fd00:1::/64"]),
            ("c", &["192.168.0.3"], &["fd00:2::/64"]),
        ]);
        let own = own(&["192.168.0.1"]);
        let view = View { own: &own, own_ranges: &[], excluded: &[], tunnel: None, encloses: false };
        let routes = beyond(&nodes, &view).routes;
        let gateway = |text: &str| Via::Gateway(text.parse().unwrap());
        let expected = [("10.0.1.0/24", gateway("192.168.0.2")), ("fd00:1::/64", gateway("fd00::2"))];
        assert_eq!(routes, expected.map(|(range, via)| (range.parse().unwrap(), via)));
    }

    #[test]
    fn packets_in_a_header_of_their_own_are_for_the_node_by_their_family() {
        let nodes = nodes(&[
            ("b", &["192.168.0.2", "fd00::2"], &["10.0.1.0/24"]),
            ("c", &["fd00::3"], &["10.0.2.0/24"]),
        ]);
        let own = own(&["192.168.0.1", "fd00::1"]);
        let excluded = ["10.0.0.0/8".parse().unwrap()];
        let view = View { own: &own, own_ranges: &[], excluded: &excluded, tunnel: None, encloses: true };
        let networks = beyond(&nodes, &view).networks;
        let of = |text: &str| {
            let range: IpNet = text.parse().unwrap();
            let network = networks.iter().rfind(|network| network.range == range).unwrap();
            network.tunnel.map_or("none".into(), |tunnel| tunnel.node.to_string())
        };
        assert_eq!(of("10.0.1.0/24"), "192.168.0.2");
        assert_eq!(of("192.168.0.2/32"), "192.168.0.2");
        assert_eq!(of("fd00::2/128"), "fd00::2");
        assert_eq!(of("10.0.2.0/24"), "none");
        assert_eq!(of("10.0.0.0/8"), "none");
        assert_eq!(of("192.168.0.1/32"), "none");
    }

    #[test]
    fn tunnels_lead_to_nodes_and_their_pods_over_a_family_that_both_have() {
        let nodes = nodes(&[
            ("b", &["192.168.0.2", "fd00::2"], &["10.0.1.0/24", "fd00:1::/64"]),
            ("c", &["fd00::3"], &["10.0.2.0/24"]),
            ("d", &["192.168.0.4"], &[]),
        ]);
        let own = own(&["fd00::1", "192.168.0.1"]);
        let excluded = ["10.0.0.0/8".parse().unwrap()];
        let ranges = ["10.0.0.0/24".parse().unwrap()];
        let tunnel = Some((7, 1500));
        let view = View { own: &own, own_ranges: &ranges, excluded: &excluded, tunnel, encloses: true };
        let beyond = beyond(&nodes, &view);
        let of = |text: &str| {
            let range: IpNet = text.parse().unwrap();
            let network = beyond.networks.iter().rfind(|network| network.range == range).unwrap();
            let tunnel = network.tunnel.map(|tunnel| format!("{} {}", tunnel.node, tunnel.mtu));
            (tunnel.unwrap_or_default(), network.node)
        };
        assert_eq!(of("10.0.1.0/24"), ("192.168.0.2 1450".into(), false));
        assert_eq!(of("fd00:1::/64"), ("192.168.0.2 1450".into(), false));
        assert_eq!(of("fd00::2/128"), ("192.168.0.2 1450".into(), true));
        assert_eq!(of("10.0.2.0/24"), ("fd00::3 1430".into(), false));
        assert_eq!(of("192.168.0.4/32"), ("192.168.0.4 1450".into(), true));
        assert_eq!(of("192.168.0.1/32"), (String::new(), true));
        assert_eq!(of("10.0.0.0/8"), (String::new(), false));
        assert_eq!(of("10.0.0.0/24"), (String::new(), false));
        let source = |text: &str| Some(text.parse().unwrap());
        let via = |source| Via::Tunnel { device: 7, source };
        let routes: Vec<_> = beyond.routes.iter().map(|(range, via)| (range.to_string(), *via)).collect();
        assert_eq!(
            routes,
            [
                ("10.0.1.0/24".into(), via(source("192.168.0.1"))),
                ("fd00:1::/64".into(), via(source("fd00::1"))),
                ("10.0.2.0/24".into(), via(source("192.168.0.1"))),
            ]
        );
    }
}
