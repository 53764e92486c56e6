//! Tunnels: what is inside, and who may put it there.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::ensure;
use etherparse::PacketBuilder;
use fairway_tests::eventually;
use fairway_tests::traffic::Kind;
use fairway_tests::trial::Trial;
use futures::FutureExt;

use super::world::{CLIENT, PORT, World};

pub(crate) const TRIALS: &[Trial<World>] = &[
    ("packets_between_pods_are_in_tunnels_and_those_between_nodes_are_not", |world| inside(world).boxed()),
    // S88
    ("tunnel_packets_of_strangers_and_pods_are_dropped", |world| strangers(world).boxed()),
    ("the_device_of_tunnels_comes_back", |world| comes_back(world).boxed()),
];

const TUNNEL_PORT: u16 = 4789;
/// No port that the kernel gives to clients.
const ANSWERS: u16 = 31_900;

/// Packets that the tunnels' device of a node has sent.
fn sent(world: &World, node: &str) -> anyhow::Result<u64> {
    let text = world.run(node, "ip -j -s link show dev fw-vxlan")?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    Ok(json.pointer("/0/stats64/tx/packets").and_then(serde_json::Value::as_u64).unwrap_or_default())
}

async fn inside(world: &World) -> anyhow::Result<()> {
    if !world.is_vxlan() {
        let there = world.run("node1", "ip link")?;
        ensure!(!there.contains("fw-vxlan"), "routing is native, and there is a device of tunnels");
        return Ok(());
    }
    for v6 in world.v6() {
        for (from, to, tunnelled) in [
            ("pod1", "pod2", true),
            ("pod1", "node2", true),
            ("node1", "pod2", true),
            ("node1", "node2", false),
        ] {
            let before = sent(world, "node1")?;
            world.seen(Kind::Tcp, from, to, 1, v6).await?;
            let packets = sent(world, "node1")? - before;
            ensure!((packets > 3) == tunnelled, "{from} to {to}: {packets} packets in tunnels");
        }
    }
    Ok(())
}

/// A datagram from `source` to the server in pod1, in a tunnel with this number.
fn tunnelled(source: SocketAddr, pod: IpAddr, id: u32) -> anyhow::Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2([2, 0xfa, 0x14, 0, 0, 2], [2, 0xfa, 0x14, 0, 0, 1]);
    let network = match (source.ip(), pod) {
        (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from.octets(), to.octets(), 64),
        _ => anyhow::bail!("two families"),
    };
    let mut packet = vec![8, 0, 0, 0];
    packet.extend((id << 8).to_be_bytes());
    network.udp(source.port(), PORT).write(&mut packet, b"x")?;
    Ok(packet)
}

/// Sends it from a place to node1's tunnels; whether the pod has answered to the client.
fn is_answered(world: &World, from: &str, id: u32, v6: bool) -> anyhow::Result<bool> {
    let asker = SocketAddr::new(world.address(CLIENT, v6)?, ANSWERS);
    let packet = tunnelled(asker, world.address("pod1", v6)?, id)?;
    let to = SocketAddr::new(world.address("node1", v6)?, TUNNEL_PORT);
    let state = &world.lab.state;
    let socket = state.netns(CLIENT).within(|| UdpSocket::bind(asker))?;
    socket.set_read_timeout(Some(Duration::from_millis(400)))?;
    let any: IpAddr =
        if v6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { std::net::Ipv4Addr::UNSPECIFIED.into() };
    let place = world.lab.place(from)?.netns;
    let sender = fairway_tests::lab::Netns::named(&place).within(|| UdpSocket::bind((any, 0)))?;
    sender.send_to(&packet, to)?;
    Ok(socket.recv_from(&mut [0; 2048]).is_ok())
}

async fn strangers(world: &World) -> anyhow::Result<()> {
    if !world.is_vxlan() {
        return Ok(());
    }
    for v6 in world.v6() {
        ensure!(is_answered(world, "node2", 1, v6)?, "a tunnel packet of a node is not taken");
        for (what, from, id, counted_at) in [
            ("of nobody", CLIENT, 1, "node1"),
            ("with another number", "node2", 2, "node1"),
            ("of a pod of another node", "default/pod2", 1, "node2"),
            ("of its own pod", "default/pod1", 1, "node1"),
        ] {
            let before = world.count(counted_at, "foreign-tunnel")?;
            ensure!(!is_answered(world, from, id, v6)?, "a tunnel packet {what} is taken");
            ensure!(world.count(counted_at, "foreign-tunnel")? > before, "one {what} is not counted");
        }
    }
    Ok(())
}

async fn comes_back(world: &World) -> anyhow::Result<()> {
    if !world.is_vxlan() {
        return Ok(());
    }
    world.run("node1", "ip link delete fw-vxlan")?;
    for v6 in world.v6() {
        for (from, to) in [("pod1", "pod2"), ("pod2", "pod1"), ("node1", "pod3")] {
            let what = format!("{from} to {to}");
            eventually(&what, || world.seen(Kind::Tcp, from, to, 1, v6), |seen| seen.is_ok()).await??;
        }
    }
    Ok(())
}
