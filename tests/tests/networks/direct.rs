//! Backends of other nodes that see the client and answer it themselves (direct server return).

use std::time::Duration;

use anyhow::ensure;
use fairway_tests::lab::{Families, State};
use fairway_tests::traffic::{Kind, Load, Query};
use fairway_tests::trial::Trial;
use fairway_tests::{eventually, eventually_within};
use futures::FutureExt;

use super::wire::NODE;
use super::world::{CLIENT, NODES, World};

const LINK: &str = "dsr-l2";
const ENCLOSED: &str = "dsr-ipip";

pub(crate) const TRIALS: &[Trial<World>] = &[
    ("another_nodes_backend_sees_the_client_and_answers_it_itself", |world| answers(world, LINK).boxed()),
    ("a_backend_behind_a_router_sees_the_client_and_answers_it_itself", |world| routed(world).boxed()),
    // S41
    ("direct_connections_outlive_their_endpoint_and_the_agents", |world| lasts(world, LINK).boxed()),
    // S41
    ("direct_connections_behind_a_router_outlive_their_endpoint_and_the_agents", |world| {
        lasts(world, ENCLOSED).boxed()
    }),
];

/// The backend's node.
const FAR: &str = "node2";

impl World {
    /// Whether this lab's nodes can send packets of a family like this.
    fn sends(&self, forwarding: &str, v6: bool) -> bool {
        // Where both families are there the tunnels' other ends are IPv4 addresses.
        !self.is_vxlan() || forwarding == ENCLOSED && (!v6 || self.families == Families::Ipv6)
    }

    fn state(&self, forwarding: &str, xdp: &str) -> State {
        let mut state = self.lab.state.clone();
        state.settings.insert("forwarding".into(), forwarding.into());
        state.settings.insert("xdp".into(), xdp.into());
        state
    }

    async fn settle_all(&self, state: &State) -> anyhow::Result<()> {
        for node in NODES {
            self.settle(node, state).await?;
        }
        Ok(())
    }

    /// Puts the client's host in the way from the first node to the backend's: a router that is no node.
    fn route(&self, there: bool) -> anyhow::Result<()> {
        let on = u8::from(there);
        self.run(CLIENT, &format!("sysctl -wq net.ipv4.ip_forward={on} net.ipv6.conf.all.forwarding={on}"))?;
        self.run(
            CLIENT,
            "sysctl -wq net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0",
        )?;
        let word = if there { "replace" } else { "del" };
        for v6 in self.v6() {
            let (far, router) = (self.address(FAR, v6)?, self.address(CLIENT, v6)?);
            self.run(NODE, &format!("ip route {word} {far} via {router}"))?;
        }
        Ok(())
    }
}

/// With and without the driver's help.
async fn answers(world: &World, forwarding: &str) -> anyhow::Result<()> {
    if !world.v6().into_iter().any(|v6| world.sends(forwarding, v6)) {
        return Ok(());
    }
    let _port = world.plug()?;
    world.balance("pod2")?;
    for xdp in ["off", "native"] {
        world.settle_all(&world.state(forwarding, xdp)).await?;
        for v6 in world.v6() {
            let [node_port, balanced] = world.doors(v6)?;
            let sent = world.sends(forwarding, v6);
            for (to, direct) in [(balanced, sent), (node_port, false)] {
                let seen = world.address(if direct { CLIENT } else { NODE }, v6)?;
                for (kind, size) in [(Kind::Tcp, 1), (Kind::Udp, 1), (Kind::Tcp, 500_000), (Kind::Udp, 4_000)]
                {
                    world.open(kind, to, "pod2").await?;
                    let counts = || {
                        anyhow::Ok((
                            world.count(NODE, "direct")? + world.count(NODE, "accelerated")?,
                            world.count(NODE, "source-translated")?,
                        ))
                    };
                    let before = counts()?;
                    let what = format!("{forwarding}, xdp {xdp}: {kind:?} of {size} bytes to {to:?}");
                    let query = Query { size, ..Query::new(kind, to.into()) };
                    let mut outcome = world.ask(CLIENT, query).await?;
                    if outcome.reply.is_err() && kind == Kind::Udp {
                        // A sender is told once what does not fit.
                        outcome = world.ask(CLIENT, query).await?;
                    }
                    let after = counts()?;
                    let reply = outcome.reply.map_err(|failure| anyhow::anyhow!("{what}: {failure:?}"))?;
                    // A datagram in fragments has nothing that says where its flow goes.
                    let whole = kind == Kind::Tcp || size < 1_000;
                    ensure!(!whole || reply.client.ip() == seen, "{what}: the backend sees {}", reply.client);
                    let counted = after.0 > before.0 && after.1 == before.1;
                    ensure!(!direct || !whole || counted, "{what}: counted {before:?}, then {after:?}");
                }
            }
            if xdp == "native" && sent {
                for kind in [Kind::Tcp, Kind::Udp] {
                    world.busy(kind, balanced).await?;
                }
            }
        }
    }
    world.settle_all(&world.lab.state).await
}

async fn routed(world: &World) -> anyhow::Result<()> {
    world.route(true)?;
    let result = answers(world, ENCLOSED).await;
    world.route(false)?;
    result
}

/// The Service leads to another pod of another node from now on, and both nodes' agents start again.
async fn lasts(world: &World, forwarding: &str) -> anyhow::Result<()> {
    let families: Vec<bool> = world.v6().into_iter().filter(|v6| world.sends(forwarding, *v6)).collect();
    if families.is_empty() {
        return Ok(());
    }
    if forwarding == ENCLOSED {
        world.route(true)?;
    }
    let result = async {
        world.balance("pod2")?;
        world.settle_all(&world.state(forwarding, "off")).await?;
        let mut running = Vec::new();
        for v6 in &families {
            let [_, to] = world.doors(*v6)?;
            world.open(Kind::Tcp, to, "pod2").await?;
            for size in [1, 1_000, 20_000] {
                let query = Query { size, ..Query::new(Kind::Tcp, to.into()) };
                let load = Load { query, every: Duration::from_millis(5), one_connection: true };
                running.push(world.start(CLIENT, load).await?);
            }
        }
        let before = world.count(NODE, "direct")?;
        let count = || async { world.count(NODE, "direct").unwrap_or(0).saturating_sub(before) };
        eventually("packets go directly", count, |count| *count > 50).await?;
        world.balance("pod3")?;
        for v6 in &families {
            let [_, to] = world.doors(*v6)?;
            world.open(Kind::Tcp, to, "pod3").await?;
        }
        for node in [NODE, FAR] {
            world.lab.stop(node, true)?;
            world.lab.start(node)?;
            let ready = || async { world.lab.agent_health(node).ok() };
            let limit = Duration::from_secs(60);
            eventually_within(limit, "the agent is ready", ready, |status| *status == Some(200)).await?;
        }
        let before = world.count(NODE, "direct")?;
        let count = || async { world.count(NODE, "direct").unwrap_or(0).saturating_sub(before) };
        eventually("packets still go directly", count, |count| *count > 50).await?;
        for load in running {
            let report = world.stop(CLIENT, load).await?;
            let names: Vec<&String> = report.answers.keys().collect();
            ensure!(report.failed() == 0 && names == ["pod2"], "{forwarding}: {report:?}");
        }
        anyhow::Ok(())
    }
    .await;
    if forwarding == ENCLOSED {
        world.route(false)?;
    }
    result?;
    world.balance("pod2")?;
    world.settle_all(&world.lab.state).await
}
