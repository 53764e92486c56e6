//! Ports of a node that lead to its pods.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::ensure;
use fairway_tests::eventually;
use fairway_tests::lab::{SocketLb, server_pod};
use fairway_tests::traffic::{Kind, Query, Runner, RunningLoad};
use futures::FutureExt;

use super::outage::wait_agent;
use super::own::{Own, becomes, latest, one_socket};
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S80
    ("a_host_port_is_reached_from_everywhere_and_by_its_own_pod", |world| from_everywhere(world).boxed()),
    // S80
    ("one_host_port_leads_to_three_pods_by_address_and_protocol", |world| three_pods(world).boxed()),
    // S80, S54
    ("a_socket_that_stays_open_follows_a_udp_host_port_to_the_next_pod", |world| udp_follows(world).boxed()),
    // S80, S115
    ("a_pod_waits_for_a_host_port_that_another_has", |world| waits(world).boxed()),
    // S80, S103
    ("a_host_port_outlives_the_agent_and_goes_with_its_pod", |world| outlives(world).boxed()),
];

/// A pod of node1 that answers on port 8080 with its name; `ports` are those of its container.
fn pod(name: &str, ports: &str) -> String {
    let pod = server_pod(name, "node1", &format!("app: {name}"));
    format!("{pod}      ports: [{ports}]\n")
}

fn both(port: u16) -> String {
    let one = |protocol| format!("{{hostPort: {port}, containerPort: 8080, protocol: {protocol}}}");
    format!("{}, {}", one("TCP"), one("UDP"))
}

/// Clients whose packets or sockets Fairway sees: without socket hooks a node's own ports are beyond its processes.
fn clients(world: &World) -> impl Iterator<Item = Position> {
    let off = world.socket_lb == SocketLb::Off;
    let beyond = move |from: &Position| off && matches!(from, Position::NodeProcess | Position::HostPod);
    Position::EVERY.into_iter().filter(move |from| !beyond(from))
}

/// Who answers a question of this kind.
async fn answer(client: &Runner, kind: Kind, to: (IpAddr, u16)) -> String {
    match client.ask(Query::new(kind, to.into())).await {
        Ok(outcome) => outcome.reply.map_or_else(|failure| format!("{failure:?}"), |reply| reply.name),
        Err(error) => error.to_string(),
    }
}

async fn from_everywhere(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    own.apply(&pod("port-web", &both(18_080)))?;
    becomes(world, Position::External, (world.node_address(1, false), 18_080), "port-web").await?;
    let itself = Runner::start(&world.lab.place("default/port-web")?)?;
    let positions = clients(world).map(|from| (from.name(), world.client(from)));
    for (from, client) in positions.chain([("the pod itself", &itself)]) {
        for (kind, v6) in [(Kind::Tcp, false), (Kind::Tcp, true), (Kind::Udp, false), (Kind::Udp, true)] {
            let to = (world.node_address(1, v6), 18_080);
            let what = format!("{kind:?} from {from} to {to:?}");
            eventually(&what, || answer(client, kind, to), |name| name == "port-web").await?;
        }
    }
    if world.socket_lb == SocketLb::All {
        let here = (IpAddr::from(Ipv4Addr::LOCALHOST), 18_080);
        becomes(world, Position::NodeProcess, here, "port-web").await?;
        becomes(world, Position::PodSameNode, here, "Refused").await?;
    }
    // The other node has no such port.
    becomes(world, Position::External, (world.node_address(2, false), 18_080), "Refused").await?;
    let listed = world.lab.run("node1", &["fairway", "service", "list"])?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let has = |line: &str| line.contains(" port-web ") && line.contains(" HostPort ");
    ensure!(listed.lines().any(has), "{listed}");
    Ok(())
}

async fn three_pods(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let address = world.node_address(1, false);
    let port = |host: IpAddr, protocol: &str| {
        format!("{{hostPort: 18081, containerPort: 8080, protocol: {protocol}, hostIP: \"{host}\"}}")
    };
    let (loopback, six) = (IpAddr::from(Ipv4Addr::LOCALHOST), world.node_address(1, true));
    own.apply(&pod("port-loopback", &port(loopback, "TCP")))?;
    own.apply(&pod("port-tcp", &port(address, "TCP")))?;
    own.apply(&pod("port-udp", &port(address, "UDP")))?;
    own.apply(&pod("port-six", &port(six, "TCP")))?;
    for from in clients(world) {
        for (kind, to, wanted) in
            [(Kind::Tcp, address, "port-tcp"), (Kind::Udp, address, "port-udp"), (Kind::Tcp, six, "port-six")]
        {
            let what = format!("{kind:?} from {} to {to}", from.name());
            let ask = || answer(world.client(from), kind, (to, 18_081));
            eventually(&what, ask, |name| name == wanted).await?;
        }
    }
    if world.socket_lb == SocketLb::All {
        becomes(world, Position::NodeProcess, (loopback, 18_081), "port-loopback").await?;
    }
    Ok(())
}

async fn udp_follows(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let port = "{hostPort: 18082, containerPort: 8080, protocol: UDP}";
    own.apply(&pod("port-first", port))?;
    let mut sockets: Vec<(Position, RunningLoad)> = Vec::new();
    for from in clients(world).filter(|from| *from != Position::HostPod) {
        for (kind, v6) in [(Kind::Udp, false), (Kind::Udp, true), (Kind::UdpUnconnected, false)] {
            let to = (world.node_address(1, v6), 18_082);
            let ask = || answer(world.client(from), Kind::Udp, to);
            eventually("the first pod answers", ask, |name| name == "port-first").await?;
            sockets.push((from, one_socket(world, from, kind, to).await?));
        }
    }
    let first = all(world, &sockets, "port-first").await;
    own.remove("Pod", "port-first")?;
    own.apply(&pod("port-second", port))?;
    let second = all(world, &sockets, "port-second").await;
    for (from, load) in sockets {
        world.client(from).stop_load(load).await?;
    }
    first.and(second)
}

async fn all(world: &World, sockets: &[(Position, RunningLoad)], wanted: &str) -> anyhow::Result<()> {
    for (from, load) in sockets {
        latest(world, *from, load, |latest| latest == wanted).await?;
    }
    Ok(())
}

async fn waits(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let to = (world.node_address(1, false), 18_083);
    own.apply(&pod("port-has", &both(18_083)))?;
    becomes(world, Position::External, to, "port-has").await?;
    own.apply(&pod(
        "port-wants",
        &format!("{{hostPort: 18083, containerPort: 8080, hostIP: \"{}\"}}", to.0),
    ))?;
    let message = || async { world.lab.pod("default/port-wants").map(|pod| pod.message.unwrap_or_default()) };
    let refused = |message: &std::io::Result<String>| {
        message.as_ref().is_ok_and(|text| text.contains("belongs to pod `default/port-has`"))
    };
    eventually("the pod is told who has the port", message, refused).await?.ok();
    becomes(world, Position::External, to, "port-has").await?;
    own.remove("Pod", "port-has")?;
    becomes(world, Position::External, to, "port-wants").await
}

async fn outlives(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let to = (world.node_address(1, true), 18_084);
    own.apply(&pod("port-stays", &both(18_084)))?;
    becomes(world, Position::External, to, "port-stays").await?;
    world.lab.stop("node1", true)?;
    let without = answer(world.client(Position::External), Kind::Tcp, to).await;
    world.lab.start("node1")?;
    wait_agent(&world.lab, "node1").await?;
    ensure!(without == "port-stays", "while no agent ran: {without}");
    let after = answer(world.client(Position::PodOtherNode), Kind::Tcp, to).await;
    ensure!(after == "port-stays", "with the next agent: {after}");
    own.remove("Pod", "port-stays")?;
    becomes(world, Position::External, to, "Refused").await
}
