//! The Services of the matrix: one for each set of endpoints and each policy.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;

use super::cell::{Backend, Cell, Frontend, Policy, named};
use crate::services::Addresses;
use crate::world::{Position, World};

/// Which Service a cell asks: for `Itself`, that of the client's own pod.
fn app(backend: Backend, client: Position) -> &'static str {
    match backend {
        Backend::Local => "local-pod",
        Backend::Remote => "remote-pod",
        Backend::Host => "host-network",
        Backend::HostRemote => "host-network-remote",
        Backend::Itself if client == Position::PodSameNode => "client-1",
        Backend::Itself => "client-2",
        Backend::Outside => "outside",
        Backend::Both => "pair",
        Backend::None => "nothing",
        Backend::Ending => "ending",
        Backend::EndingAndReady => "ending-and-ready",
    }
}

const APPS: [&str; 11] = [
    "local-pod",
    "remote-pod",
    "host-network",
    "host-network-remote",
    "client-1",
    "client-2",
    "outside",
    "pair",
    "nothing",
    "ending",
    "ending-and-ready",
];

fn addresses(app: &str, policy: Policy) -> Addresses {
    let place = |found: Option<usize>| found.and_then(|place| u8::try_from(place).ok()).unwrap_or_default();
    let row = place(APPS.iter().position(|other| *other == app));
    let column = place(Policy::ALL.iter().position(|(other, _)| *other == policy));
    Addresses(1 + row * 4 + column)
}

/// Every Service, and the endpoints that no selector finds.
pub(super) fn manifests(world: &World) -> anyhow::Result<String> {
    let mut text = String::new();
    for app in APPS {
        for (policy, policy_name) in Policy::ALL {
            let selector = match app {
                "outside" | "ending" | "ending-and-ready" => String::new(),
                _ => format!("selector: {{app: {app}}}"),
            };
            let setting = match policy {
                Policy::Default => "",
                Policy::ExternalLocal => "externalTrafficPolicy: Local",
                Policy::InternalLocal => "internalTrafficPolicy: Local",
                Policy::Affinity => "sessionAffinity: ClientIP",
            };
            let name = format!("{app}-{policy_name}");
            text += &addresses(app, policy).manifest(&name, &format!("{selector}\n  {setting}"), 8080, true);
            text += &slices(world, app, &name)?;
        }
    }
    Ok(text)
}

fn slices(world: &World, app: &str, service: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    for v6 in [false, true] {
        let ending = endpoint(world.pod_address("local-pod", v6)?, "node1", false);
        let ready = endpoint(world.pod_address("remote-pod", v6)?, "node2", true);
        let endpoints = match app {
            "outside" => format!("  - {{addresses: [\"{}\"]}}\n", world.client_address(v6)),
            "ending" => ending,
            "ending-and-ready" => ending + &ready,
            _ => continue,
        };
        let family = if v6 { "IPv6" } else { "IPv4" };
        text += &format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-{}, labels: \
             {{kubernetes.io/service-name: {service}}}}}\naddressType: {family}\nports:\n  \
             - {{name: tcp, protocol: TCP, port: 8080}}\n  - {{name: udp, protocol: UDP, port: 8080}}\nendpoints:\n{endpoints}",
            family.to_lowercase()
        );
    }
    Ok(text)
}

fn endpoint(address: IpAddr, node: &str, ready: bool) -> String {
    let ending = !ready;
    format!(
        "  - {{addresses: [\"{address}\"], nodeName: {node}, \
         conditions: {{ready: {ready}, serving: true, terminating: {ending}}}}}\n"
    )
}

/// What a cell asks.
pub(super) fn address(cell: Cell, world: &World) -> anyhow::Result<SocketAddr> {
    let (app, v6) = (app(cell.backend, cell.client), cell.v6);
    let of = addresses(app, cell.policy);
    let localhost: [IpAddr; 2] = [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
    Ok(match cell.frontend {
        Frontend::ClusterIp => (of.cluster_ip(v6), 80),
        Frontend::NodePort1 => (world.node_address(1, v6), of.node_port()),
        Frontend::NodePort2 => (world.node_address(2, v6), of.node_port()),
        Frontend::NodePortLocalhost => (localhost[usize::from(v6)], of.node_port()),
        Frontend::Balancer => (of.balancer_ip(v6), 80),
        Frontend::ExternalIp => (of.external_ip(v6), 80),
        Frontend::Pod => (world.pod_address(app, v6)?, 8080),
    }
    .into())
}

/// The name of a cell's Service.
pub(super) fn service(cell: Cell) -> String {
    format!("{}-{}", app(cell.backend, cell.client), named(&Policy::ALL, cell.policy))
}

/// A question to every Service from a node, which is answered or refused once the Service is there.
pub(super) fn first_questions(sockets: super::cell::Sockets) -> Vec<Cell> {
    let mut cells = Cell::all(sockets);
    cells.retain(|cell| {
        let asked = cell.frontend == Frontend::ClusterIp && cell.protocol == super::cell::Protocol::Udp;
        asked && matches!(cell.client, Position::PodSameNode | Position::PodOtherNode)
    });
    cells
}

/// The pod whose address a client's own is, if it is a pod.
pub(super) fn pod_of(client: Position) -> anyhow::Result<&'static str> {
    match client {
        Position::PodSameNode => Some("client-1"),
        Position::PodOtherNode => Some("client-2"),
        _ => None,
    }
    .context("not a pod")
}
