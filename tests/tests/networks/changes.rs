//! Nodes come, go and change; so does the way between them.

use std::time::Duration;

use anyhow::ensure;
use fairway_tests::lab::State;
use fairway_tests::traffic::{Kind, Load};
use fairway_tests::trial::Trial;
use fairway_tests::{eventually, eventually_within};
use futures::FutureExt;

use super::world::{NATIVE, NODES, PODS, VXLAN, World};

pub(crate) const TRIALS: &[Trial<World>] = &[
    ("ways_to_a_node_go_and_come_with_it_and_others_stay", |world| leaves(world).boxed()),
    ("a_route_that_somebody_removes_comes_back_and_foreign_ones_stay", |world| routes(world).boxed()),
    ("a_cluster_changes_its_routing_node_by_node", |world| changes_routing(world).boxed()),
    ("a_node_that_is_cleaned_up_has_nothing_of_fairway", |world| cleaned_up(world).boxed()),
];

impl World {
    /// Gives a node's agent the settings of this state, and waits until it serves.
    pub(crate) async fn settle(&self, node: &str, state: &State) -> anyhow::Result<()> {
        state.save()?;
        self.lab.stop(node, false)?;
        self.lab.start(node)?;
        let ready = || async { self.lab.agent_health(node).ok() };
        // The kernel checks its programs, on a busy machine for a while.
        let limit = Duration::from_secs(60);
        eventually_within(limit, "the agent is ready", ready, |status| *status == Some(200)).await?;
        Ok(())
    }

    /// The ranges of a node's pods, as `ip route` prints them.
    fn ranges(&self, node: &str) -> Vec<String> {
        let plan = self.lab.state.plan;
        plan.pod_cidrs(plan.number(node).unwrap_or_default()).iter().map(ToString::to_string).collect()
    }

    fn routes(&self, node: &str) -> anyhow::Result<String> {
        Ok(self.run(node, "ip -4 route")? + &self.run(node, "ip -6 route")?)
    }
}

/// Flows between the others go on meanwhile.
async fn leaves(world: &World) -> anyhow::Result<()> {
    let v6 = world.v6()[0];
    let load = Load {
        query: world.query(Kind::Tcp, "pod2", v6)?,
        every: Duration::from_millis(5),
        one_connection: true,
    };
    let running = world.start("pod1", load).await?;
    let manifests = world.lab.manifests();
    manifests.remove("Node", "default/node3")?;
    let has = |node: &'static str| async move {
        let routes = world.routes(node).unwrap_or_default();
        world.ranges("node3").iter().filter(|range| routes.contains(range.as_str())).count()
    };
    let gone = eventually("routes to node3 are gone", || has("node1"), |routes| *routes == 0).await;
    manifests.add_nodes()?;
    gone?;
    for v6 in world.v6() {
        for (from, to) in [("pod1", "pod3"), ("pod3", "pod1"), ("node1", "pod3")] {
            world.reaches(from, to, v6).await?;
        }
    }
    let report = world.stop("pod1", running).await?;
    ensure!(report.failed() == 0 && report.asked > 0, "pod1 to pod2 meanwhile: {report:?}");
    Ok(())
}

async fn routes(world: &World) -> anyhow::Result<()> {
    let foreign = "203.0.113.0/24";
    if world.v6().contains(&false) {
        world.run("node1", &format!("ip route add {foreign} dev lo"))?;
    }
    for range in world.ranges("node2") {
        let family = if range.contains(':') { "-6" } else { "-4" };
        world.run("node1", &format!("ip {family} route delete {range}"))?;
    }
    for v6 in world.v6() {
        world.reaches("node1", "pod2", v6).await?;
    }
    if world.v6().contains(&false) {
        ensure!(world.routes("node1")?.contains(foreign), "a foreign route is gone");
        world.run("node1", &format!("ip route delete {foreign}"))?;
    }
    Ok(())
}

async fn changes_routing(world: &World) -> anyhow::Result<()> {
    let to = if world.is_vxlan() { NATIVE } else { VXLAN };
    let mut state = world.lab.state.clone();
    state.settings.insert("routing".into(), to.into());
    for node in NODES {
        world.settle(node, &state).await?;
    }
    for v6 in world.v6() {
        for from in PODS.into_iter().chain(NODES) {
            for to in PODS.into_iter().filter(|to| *to != from) {
                world.reaches(from, to, v6).await?;
                let seen = world.seen(Kind::Tcp, from, to, 500_000, v6).await?;
                ensure!(seen == world.address(from, v6)?, "{to} sees {from} as {seen}");
            }
        }
    }
    for node in NODES {
        let tunnels = world.run(node, "ip link")?.contains("fw-vxlan");
        ensure!(tunnels == (to == VXLAN), "{node}: routing is {to}, tunnels: {tunnels}");
    }
    Ok(())
}

async fn cleaned_up(world: &World) -> anyhow::Result<()> {
    let (node, state) = ("node3", &world.lab.state);
    let mut with_xdp = state.clone();
    with_xdp.settings.insert("xdp".into(), "generic".into());
    world.settle(node, &with_xdp).await?;
    let driver = || world.run(node, "ip -d link show dev eth0");
    ensure!(driver()?.contains("prog/xdp"), "no program at the driver: {}", driver()?);
    world.lab.stop(node, false)?;
    let (own, pins) = (state.directory().join(node).join("state"), state.pins(Some(node)));
    let command = |more: &str| {
        let words = format!(
            "fairway-agent cleanup --pods {more}--state-dir {} --bpf-root {}",
            own.display(),
            pins.display()
        );
        world.run(node, &words)
    };
    let said = command("--dry-run ")?;
    ensure!(world.routes(node)?.contains("proto 250"), "a dry run has removed something");
    let device = "device fw";
    ensure!(said.contains(device) && said.contains("route") && said.contains("pin"), "it would: {said}");
    command("")?;
    let links = world.run(node, "ip -o link")?;
    ensure!(!links.contains(": fw"), "devices are left: {links}");
    let routes = world.routes(node)?;
    ensure!(!routes.contains("proto 250"), "routes are left: {routes}");
    ensure!(!pins.exists(), "pins are left in {}", pins.display());
    ensure!(!driver()?.contains("prog/xdp"), "a program is left at the driver: {}", driver()?);
    command("")?;
    Ok(())
}
