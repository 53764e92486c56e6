//! Between pods and nodes: everybody reaches everybody, and shows its own address.

use anyhow::ensure;
use fairway_tests::traffic::Kind;
use fairway_tests::trial::Trial;
use futures::FutureExt;

use super::world::{NODES, PODS, World};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S27, S93
    ("pods_of_all_nodes_see_each_others_addresses", |world| between_pods(world).boxed()),
    // S79
    ("nodes_and_pods_reach_each_other_both_ways", |world| pods_and_nodes(world).boxed()),
    ("pings_cross_nodes", |world| pings(world).boxed()),
];

/// A short exchange, a long one, and datagrams up to more than twenty fragments.
pub(crate) const SHAPES: [(Kind, usize); 6] = [
    (Kind::Tcp, 1),
    (Kind::Tcp, 5_000_000),
    (Kind::Udp, 1),
    (Kind::Udp, 1_400),
    (Kind::Udp, 4_000),
    (Kind::Udp, 30_000),
];

async fn between_pods(world: &World) -> anyhow::Result<()> {
    for v6 in world.v6() {
        for from in PODS {
            for to in PODS.into_iter().filter(|to| *to != from) {
                for (kind, size) in SHAPES {
                    let seen = world.seen(kind, from, to, size, v6).await?;
                    ensure!(seen == world.address(from, v6)?, "{to} sees {from} as {seen}");
                }
            }
        }
    }
    Ok(())
}

async fn pods_and_nodes(world: &World) -> anyhow::Result<()> {
    for v6 in world.v6() {
        for node in NODES {
            for pod in PODS {
                for (kind, size) in SHAPES {
                    let seen = world.seen(kind, node, pod, size, v6).await?;
                    ensure!(seen == world.address(node, v6)?, "{pod} sees {node} as {seen}");
                    let seen = world.seen(kind, pod, node, size, v6).await?;
                    ensure!(seen == world.address(pod, v6)?, "{node} sees {pod} as {seen}");
                }
            }
        }
    }
    Ok(())
}

async fn pings(world: &World) -> anyhow::Result<()> {
    for v6 in world.v6() {
        for from in PODS.into_iter().chain(NODES) {
            for to in PODS.into_iter().chain(NODES).filter(|to| *to != from) {
                world.seen(Kind::Ping, from, to, 1, v6).await?;
            }
        }
    }
    Ok(())
}
