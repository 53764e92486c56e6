//! Between pods and the world.

use anyhow::ensure;
use fairway_tests::eventually;
use fairway_tests::traffic::{Kind, Query};
use fairway_tests::trial::Trial;
use futures::FutureExt;

use super::ways::SHAPES;
use super::world::{CLIENT, NODE_PORT, NODES, PODS, World};

pub(crate) const TRIALS: &[Trial<World>] = &[
    ("the_world_sees_nodes_where_pods_ask", |world| masquerade(world).boxed()),
    ("an_excluded_address_sees_the_pod", |world| excluded(world).boxed()),
    // S82
    ("a_packet_too_big_for_the_way_to_the_backend_is_answered_with_its_size", |world| too_big(world).boxed()),
];

/// What pods and nodes exchange, and a ping.
fn shapes() -> impl Iterator<Item = (Kind, usize)> {
    SHAPES.into_iter().chain([(Kind::Ping, 1)])
}

async fn masquerade(world: &World) -> anyhow::Result<()> {
    for v6 in world.v6() {
        for (pod, node) in PODS.into_iter().zip(NODES) {
            let before = world.count(node, "masqueraded")?;
            for (kind, size) in shapes() {
                // The second exchange of a port's connection goes by what the first has left.
                for _ in 0..2 {
                    let seen = world.seen(kind, pod, CLIENT, size, v6).await?;
                    let own = world.address(node, v6)?;
                    ensure!(
                        kind == Kind::Ping || seen == own,
                        "the world sees {pod} as {seen}, not as {own}"
                    );
                }
            }
            ensure!(world.count(node, "masqueraded")? > before, "nothing was counted");
        }
    }
    Ok(())
}

/// The client's address is declared to be one that knows pods; it does, by a route to each node's range.
async fn excluded(world: &World) -> anyhow::Result<()> {
    let plan = world.lab.state.plan;
    let number = plan.number("node1").unwrap_or_default();
    for (range, gateway) in plan.pod_cidrs(number).iter().zip(plan.node(number)) {
        let family = if range.addr().is_ipv4() { "-4" } else { "-6" };
        world.run(CLIENT, &format!("ip {family} route add {range} via {}", gateway.addr()))?;
    }
    let clients: Vec<String> = plan.client().iter().map(|net| net.addr().to_string()).collect();
    let clients: Vec<String> =
        clients.iter().map(|it| format!("{it}/{}", if it.contains(':') { 128 } else { 32 })).collect();
    let mut state = world.lab.state.clone();
    state.settings.insert("masquerade-exclude".into(), clients.join(","));
    world.settle("node1", &state).await?;
    let result = async {
        for v6 in world.v6() {
            let own = world.address("pod1", v6)?;
            for (kind, size) in shapes() {
                // What was recorded before goes on as it began: other ports ask from now on, and what is excluded may be
                // known a moment after the agent is ready.
                let ask = || world.seen(kind, "pod1", CLIENT, size, v6);
                let is_own = |seen: &anyhow::Result<_>| {
                    seen.as_ref().is_ok_and(|seen| kind == Kind::Ping || *seen == own)
                };
                eventually("the client sees pod1 itself", ask, is_own).await??;
            }
        }
        Ok(())
    };
    let result = result.await;
    world.settle("node1", &world.lab.state).await?;
    result
}

async fn too_big(world: &World) -> anyhow::Result<()> {
    if !world.is_vxlan() {
        return Ok(());
    }
    for v6 in world.v6() {
        let to = world.address("node1", v6)?;
        // A datagram that fills the client's link.
        let size = if v6 { 1_452 } else { 1_472 };
        let query = Query { size, ..Query::new(Kind::Udp, (to, NODE_PORT).into()) };
        world.ask(CLIENT, query).await?;
        let inside = if world.v6().contains(&false) { 1_450 } else { 1_430 };
        let route = world.run(CLIENT, &format!("ip route get {to}"))?;
        if v6 {
            ensure!(route.contains(&format!("mtu {inside}")), "the way to {to} is {route}");
        }
        let outcome = world.ask(CLIENT, query).await?;
        ensure!(outcome.name() == Some("pod2"), "after that: {:?}", outcome.reply);
    }
    Ok(())
}
