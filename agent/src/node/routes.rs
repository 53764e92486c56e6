//! What follows from the Node objects: this node's pod ranges, and routes to the others' pods.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fairway_proto::model::Node;
use imbl::OrdMap;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Shared;
use crate::sync::{Origin, chain};

/// When routes that failed are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps both up to date until `stop`. Without a state nothing is touched.
pub(super) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let mut state = shared.state.subscribe();
    let mut done: Option<OrdMap<String, Arc<Node>>> = None;
    let mut again = false;
    loop {
        tokio::select! {
            Ok(()) = state.changed() => {}
            () = tokio::time::sleep(RETRY), if again => done = None,
            () = stop.cancelled() => return,
        }
        let latest = state.borrow_and_update().clone();
        if latest.origin == Origin::Kernel || done.as_ref() == Some(&latest.cluster.nodes) {
            continue;
        }
        let nodes = latest.cluster.nodes.clone();
        let name = &shared.config.node_name;
        if shared.config.pod_cidrs.is_empty()
            && let Some(node) = nodes.get(name)
        {
            shared.pods.set_cidrs(node.pod_cidrs.clone());
        }
        again = !set(&shared, &routes(&nodes, name)).await;
        done = Some(nodes);
    }
}

/// True if all routes are set.
async fn set(shared: &Shared, routes: &[(IpNet, IpAddr)]) -> bool {
    match shared.netlink.sync_routes(routes).await {
        Ok(failures) => {
            failures.iter().for_each(|failure| warn!("{}", chain(failure)));
            failures.is_empty()
        }
        Err(error) => {
            warn!("routes to other nodes' pods: {}", chain(&error));
            false
        }
    }
}

/// Each other node's pod ranges, by its first address of the family.
fn routes(nodes: &OrdMap<String, Arc<Node>>, own: &str) -> Vec<(IpNet, IpAddr)> {
    let others = nodes.values().filter(|node| node.name != own);
    others
        .flat_map(|node| {
            node.pod_cidrs.iter().filter_map(|cidr| {
                let v4 = matches!(cidr, IpNet::V4(_));
                let gateway = node.addresses.iter().find(|address| address.is_ipv4() == v4)?;
                Some((*cidr, *gateway))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_lead_to_the_other_nodes_by_family() {
        let node = |name: &str, addresses: &[&str], cidrs: &[&str]| Node {
            name: name.into(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            pod_cidrs: cidrs.iter().map(|text| text.parse().unwrap()).collect(),
            zone: None,
            object: None,
        };
        let nodes = [
            node("a", &["192.168.0.1"], &["10.0.0.0/24"]),
            node("b", &["192.168.0.2", "fd00::2"], &["10.0.1.0/24", "fd00:1::/64"]),
            node("c", &["192.168.0.3"], &["fd00:2::/64"]),
        ];
        let nodes = nodes.into_iter().map(|node| (node.name.clone(), Arc::new(node))).collect();
        let texts: Vec<String> =
            routes(&nodes, "a").iter().map(|(cidr, via)| format!("{cidr} via {via}")).collect();
        assert_eq!(texts, ["10.0.1.0/24 via 192.168.0.2", "fd00:1::/64 via fd00::2"]);
    }
}
