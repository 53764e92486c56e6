//! Packets that go back at the driver of a node's device (XDP): clients outside, backends on other nodes.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, ensure};
use fairway_tests::eventually;
use fairway_tests::traffic::{Kind, Load, Query};
use fairway_tests::trial::Trial;
use futures::FutureExt;

use super::foreign::{self, Mode};
use super::world::{CLIENT, NODE_PORT, NODES, World};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S29
    ("a_client_outside_is_served_by_the_driver_in_native_mode", |world| served(world, "native").boxed()),
    // S29
    ("a_client_outside_is_served_by_the_driver_in_generic_mode", |world| served(world, "generic").boxed()),
    ("connections_at_the_driver_outlive_the_agent", |world| restarts(world).boxed()),
    ("a_foreign_program_at_the_driver_stays_and_is_named", |world| foreign(world).boxed()),
];

/// The node that the client asks, and whose driver is looked at.
pub(crate) const NODE: &str = "node1";
/// A load balancer's addresses for the backend on node2, which the client reaches by this node.
pub(crate) const BALANCED: [&str; 2] = ["203.0.113.77", "fd00:203::77"];

impl World {
    /// Makes the wires what wires are: what they carry has its checksums. The kernel hands a native program's packets over
    /// to the other one of a pair of virtual devices only if that one runs a program as well: it goes with what is
    /// returned.
    pub(crate) fn plug(&self) -> anyhow::Result<OwnedFd> {
        for place in NODES.into_iter().chain([CLIENT]) {
            self.lab.state.netns(place).finish_checksums("eth0")?;
        }
        Ok(self.lab.state.netns("underlay").within(|| foreign::attach(NODE, Mode::Native))?)
    }

    /// A Service at a load balancer's addresses that leads to one pod.
    pub(crate) fn balance(&self, pod: &str) -> anyhow::Result<()> {
        let quoted = |addresses: [&str; 2]| -> Vec<String> {
            self.v6().into_iter().map(|v6| format!("\"{}\"", addresses[usize::from(v6)])).collect()
        };
        let cluster = quoted(["10.96.1.103", "fd00:10:96::167"]);
        let ingress: Vec<String> = quoted(BALANCED).iter().map(|ip| format!("{{ip: {ip}}}")).collect();
        self.lab.manifests().apply_text(&format!(
            r"---
apiVersion: v1
kind: Service
metadata: {{name: balanced, annotations: {{fairway.dev/algorithm: maglev}}}}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  ipFamilies: [{}]
  clusterIP: {}
  clusterIPs: [{}]
  selector: {{app: {pod}}}
  ports:
    - {{name: tcp, protocol: TCP, port: 80, targetPort: 8080, nodePort: 31003}}
    - {{name: udp, protocol: UDP, port: 80, targetPort: 8080, nodePort: 31003}}
status:
  loadBalancer: {{ingress: [{}]}}
",
            quoted(["IPv4", "IPv6"]).join(", "),
            cluster.first().cloned().unwrap_or_default(),
            cluster.join(", "),
            ingress.join(", ")
        ))?;
        Ok(())
    }

    /// Starts the node's agent with this setting, and that Service for pod2.
    pub(crate) async fn with_xdp(&self, mode: &str) -> anyhow::Result<()> {
        self.balance("pod2")?;
        let mut state = self.lab.state.clone();
        state.settings.insert("xdp".into(), mode.into());
        self.settle(NODE, &state).await
    }

    /// What `fairway status` says of the drivers.
    fn said(&self) -> anyhow::Result<String> {
        let text = self.run(NODE, "fairway status")?;
        let line = text.lines().find(|line| line.contains(" xdp "));
        Ok(line.context("nothing is said of xdp")?.to_owned())
    }

    /// Where the client finds the backend of another node.
    pub(crate) fn doors(&self, v6: bool) -> anyhow::Result<[(IpAddr, u16); 2]> {
        Ok([(self.address(NODE, v6)?, NODE_PORT), (BALANCED[usize::from(v6)].parse()?, 80)])
    }

    /// Waits until the client is served by a pod.
    pub(crate) async fn open(&self, kind: Kind, to: (IpAddr, u16), pod: &str) -> anyhow::Result<()> {
        let query = Query::new(kind, to.into());
        let served =
            || async { self.ask(CLIENT, query).await.ok().and_then(|it| it.name().map(str::to_owned)) };
        eventually(&format!("{to:?} is served by {pod}"), served, |name| name.as_deref() == Some(pod))
            .await
            .map(drop)
    }

    /// Keeps one connection busy, and says how many of its packets went back at the driver.
    pub(crate) async fn busy(&self, kind: Kind, to: (IpAddr, u16)) -> anyhow::Result<u64> {
        let query = Query { size: 1_000, ..Query::new(kind, to.into()) };
        let served =
            || async { self.ask(CLIENT, query).await.ok().and_then(|it| it.name().map(str::to_owned)) };
        eventually("the door is open", served, |name| name.as_deref() == Some("pod2")).await?;
        let before = self.count(NODE, "accelerated")?;
        let load = Load { query, every: Duration::from_millis(1), one_connection: true };
        let running = self.start(CLIENT, load).await?;
        let count = || async { self.count(NODE, "accelerated").unwrap_or(0).saturating_sub(before) };
        let counted = eventually("packets go back at the driver", count, |count| *count > 50).await;
        let report = self.stop(CLIENT, running).await?;
        ensure!(report.failed() == 0, "{kind:?} to {to:?}: {report:?}");
        counted
    }
}

async fn served(world: &World, mode: &str) -> anyhow::Result<()> {
    if world.is_vxlan() {
        return Ok(());
    }
    let _port = world.plug()?;
    world.with_xdp(mode).await?;
    let said = world.said()?;
    ensure!(said.contains(&format!("{mode} on eth0")), "status: {said}");
    for v6 in world.v6() {
        for to in world.doors(v6)? {
            for kind in [Kind::Tcp, Kind::Udp] {
                world.busy(kind, to).await?;
            }
        }
        // What is too long for one packet, and what is new, takes the other way.
        for (kind, size) in [(Kind::Tcp, 500_000), (Kind::Udp, 4_000), (Kind::Udp, 1)] {
            let [to, _] = world.doors(v6)?;
            let outcome = world.ask(CLIENT, Query { size, ..Query::new(kind, to.into()) }).await?;
            ensure!(outcome.name() == Some("pod2"), "{kind:?} of {size} bytes: {:?}", outcome.reply);
        }
    }
    Ok(())
}

async fn restarts(world: &World) -> anyhow::Result<()> {
    if world.is_vxlan() {
        return Ok(());
    }
    let _port = world.plug()?;
    world.with_xdp("native").await?;
    let [to, _] = world.doors(world.v6()[0])?;
    let query = Query::new(Kind::Tcp, to.into());
    let load = Load { query, every: Duration::from_millis(2), one_connection: true };
    let running = world.start(CLIENT, load).await?;
    let device = || world.run(NODE, "ip -d link show dev eth0");
    let program = |text: &str| text.split("prog/xdp").nth(1).map(str::to_owned);
    let before = program(&device()?).context("no program at the driver")?;
    world.lab.stop(NODE, true)?;
    ensure!(program(&device()?).as_ref() == Some(&before), "the program went with the agent");
    world.lab.start(NODE)?;
    let other = || async { program(&device().unwrap_or_default()) };
    eventually("the new agent's program", other, |it| it.is_some() && it.as_ref() != Some(&before)).await?;
    // In another mode, and away.
    world.with_xdp("generic").await?;
    ensure!(device()?.contains("xdpgeneric"), "it is in the old mode");
    world.with_xdp("off").await?;
    eventually("no program", || async { device().unwrap_or_default() }, |it| !it.contains("prog/xdp"))
        .await?;
    let report = world.stop(CLIENT, running).await?;
    ensure!(report.failed() == 0 && report.asked > 0, "{report:?}");
    Ok(())
}

async fn foreign(world: &World) -> anyhow::Result<()> {
    if world.is_vxlan() {
        return Ok(());
    }
    world.with_xdp("off").await?;
    let theirs = world.lab.state.netns(NODE).within(|| foreign::attach("eth0", Mode::Generic))?;
    world.with_xdp("auto").await?;
    let said = world.said()?;
    ensure!(said.contains("not on eth0: another program (id "), "status: {said}");
    ensure!(said.contains("name theirs"), "status: {said}");
    for v6 in world.v6() {
        for to in world.doors(v6)? {
            world.open(Kind::Tcp, to, "pod2").await?;
        }
    }
    drop(theirs);
    world.with_xdp("off").await
}
