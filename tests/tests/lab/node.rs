//! The node's own part: its addresses, its processes, and its way to pods.

use std::net::IpAddr;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, ensure};
use fairway_tests::traffic::{Kind, Query};
use fairway_tests::{eventually, eventually_within};
use futures::FutureExt;

use super::outage::wait_agent;
use super::own::{Own, becomes, name};
use super::services::{Addresses, LOCAL_POD, REMOTE_POD};
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S30
    ("a_masqueraded_source_is_a_global_address_that_stays", |world| global(world).boxed()),
    // S36, S77
    ("a_process_that_listens_on_a_services_address_is_reached", |world| listens(world).boxed()),
    // S79
    ("the_node_reaches_its_pods_at_their_own_addresses", |world| probes(world).boxed()),
];

const OWN: Addresses = Addresses(36);

/// Runs `ip` on node1.
fn ip(world: &World, words: &str) -> anyhow::Result<()> {
    let words: Vec<&str> = std::iter::once("ip").chain(words.split(' ')).collect();
    let output = world.lab.run("node1", &words)?;
    ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Which address the backend on the other node sees.
async fn seen(world: &World, v6: bool) -> Result<IpAddr, String> {
    let query = Query::new(Kind::Tcp, (world.node_address(1, v6), REMOTE_POD.node_port()).into());
    let outcome = world.client(Position::External).ask(query).await.map_err(|error| error.to_string())?;
    outcome.reply.map(|reply| reply.client.ip()).map_err(|failure| format!("{failure:?}"))
}

async fn sees_the_node(world: &World) -> anyhow::Result<()> {
    for v6 in [false, true] {
        let node = world.node_address(1, v6);
        // The programs are loaded anew for another source, which takes the kernel a while.
        let limit = Duration::from_secs(60);
        let look = || seen(world, v6);
        eventually_within(limit, "the backend sees the node", look, |it| *it == Ok(node)).await?.ok();
    }
    Ok(())
}

/// Link-local addresses beside the node's own, and global ones that the kernel names first.
async fn global(world: &World) -> anyhow::Result<()> {
    const ADDED: [&str; 3] = ["169.254.77.1/16", "fe80::77/64", "fd00:50::78/64"];
    sees_the_node(world).await?;
    for address in ADDED {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        ip(world, &format!("address add {address} dev eth0{nodad}"))?;
    }
    // Its NodePorts tell that the agent knows the newer address.
    let newer = ("fd00:50::78".parse()?, REMOTE_POD.node_port());
    let mut done = becomes(world, Position::PodSameNode, newer, REMOTE_POD.name).await;
    done = done.and(sees_the_node(world).await);
    // The next agent does not know which address was first.
    world.lab.stop("node1", false)?;
    world.lab.start("node1")?;
    done = done.and(wait_agent(&world.lab, "node1").await);
    for v6 in [false, true] {
        let look = || async { seen(world, v6).await };
        let of_the_node = |it: &Result<IpAddr, String>| match it {
            Ok(IpAddr::V4(address)) => IpAddr::V4(*address) == world.node_address(1, false),
            Ok(IpAddr::V6(address)) => address.segments()[..2] == [0xfd00, 0x50],
            Err(_) => false,
        };
        done = done.and(eventually("a global address", look, of_the_node).await.map(drop));
    }
    for address in ADDED {
        ip(world, &format!("address del {address} dev eth0"))?;
    }
    done?;
    sees_the_node(world).await
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

/// The address of a load balancer is one of node1's, where a process listens at ports that no Service has, and at one
/// that the Service has for that very process.
async fn listens(world: &World) -> anyhow::Result<()> {
    const FREE: u16 = 9_777;
    let mut own = Own::new(world);
    let mut command = world.lab.command("node1", "fairway-lab")?;
    command.args(["serve", "--name", "own-process", "--tcp", "9777", "--tcp", "80"]);
    let _server = Server(command.spawn()?);
    own.apply(&OWN.manifest("own-address", "selector: {app: remote-pod}", 8080, false))?;
    let addresses = [OWN.balancer_ip(false), OWN.balancer_ip(true)];
    for address in addresses {
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        let length = if address.is_ipv6() { 128 } else { 32 };
        ip(world, &format!("address add {address}/{length} dev lo{nodad}"))?;
    }
    let asked = asks_the_process(world, &mut own, addresses, FREE).await;
    for address in addresses {
        let length = if address.is_ipv6() { 128 } else { 32 };
        ip(world, &format!("address del {address}/{length} dev lo"))?;
    }
    asked
}

async fn asks_the_process(
    world: &World,
    own: &mut Own<'_>,
    addresses: [IpAddr; 2],
    free: u16,
) -> anyhow::Result<()> {
    let clients = [Position::PodSameNode, Position::NodeProcess, Position::HostPod, Position::External];
    for address in addresses {
        for from in clients {
            becomes(world, from, (address, free), "own-process").await?;
        }
        // The Service's own port is the Service's.
        becomes(world, Position::PodSameNode, (address, 80), REMOTE_POD.name).await?;
    }
    let slices: String = addresses.iter().map(|address| slice(*address)).collect();
    own.apply(&(OWN.manifest("own-address", "sessionAffinity: None", 80, false) + &slices))?;
    for address in addresses {
        for from in clients {
            becomes(world, from, (address, 80), "own-process").await?;
        }
    }
    Ok(())
}

/// The Service's endpoint is its own address.
fn slice(address: IpAddr) -> String {
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    format!(
        r#"---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: own-{}, labels: {{kubernetes.io/service-name: own-address}}}}
addressType: {family}
ports: [{{name: tcp, protocol: TCP, port: 80}}]
endpoints: [{{addresses: ["{address}"], nodeName: node1}}]
"#,
        family.to_lowercase()
    )
}

/// A kubelet's probes: from the node's own stack to its pods, also to those whose connections are translated.
async fn probes(world: &World) -> anyhow::Result<()> {
    for v6 in [false, true] {
        // The pod has been a backend and a client of Services by now.
        let through =
            name(world, Position::External, (world.node_address(1, v6), LOCAL_POD.node_port())).await;
        ensure!(through == LOCAL_POD.name, "by the NodePort: {through}");
        for from in [Position::NodeProcess, Position::HostPod] {
            for pod in ["local-pod", "client-1", "pair-1"] {
                for kind in [Kind::Tcp, Kind::Udp, Kind::UdpUnconnected] {
                    let to = (world.pod_address(pod, v6)?, 8080);
                    let outcome = world.client(from).ask(Query::new(kind, to.into())).await?;
                    let context = || format!("{kind:?} from {} to {pod}", from.name());
                    let reply = outcome.reply.as_ref().ok().with_context(context)?;
                    let from_node = reply.client.ip() == world.node_address(1, v6);
                    ensure!(reply.name == pod && from_node, "{}: {reply:?}", context());
                }
            }
        }
    }
    Ok(())
}
