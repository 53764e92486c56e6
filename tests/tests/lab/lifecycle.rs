//! Services and pods that come, change and go.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::ensure;
use fairway_tests::eventually;
use fairway_tests::lab::{server_pod, server_pod_with};
use fairway_tests::traffic::{Kind, Load, Query, Runner};
use futures::FutureExt;

use super::own::{Own, becomes, frontend, name};
use super::services::{Addresses, LOCAL_POD, REMOTE_POD};
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S17
    ("endpoints_that_are_not_ready_are_published_on_request", |world| not_ready(world).boxed()),
    // S16
    ("a_service_of_another_proxy_is_left_alone", |world| other_proxy(world).boxed()),
    // S43
    ("a_rolling_update_costs_no_request", |world| rolling_update(world).boxed()),
    // S81
    ("a_terminating_pod_opens_and_accepts_connections", |world| terminating(world).boxed()),
    // S95
    ("each_type_has_its_frontends_alone", |world| types(world).boxed()),
    // S96
    ("a_service_that_returns_serves_again", |world| returns(world).boxed()),
    // S97
    ("an_external_address_moves_to_another_service", |world| address_moves(world).boxed()),
    // S98
    ("two_services_share_an_address_and_swap_ports", |world| shared_address(world).boxed()),
];

const ONE: Addresses = Addresses(32);
const TWO: Addresses = Addresses(33);
const REFUSED: &str = "Refused";

fn service(addresses: Addresses, name: &str, app: &str) -> String {
    addresses.manifest(name, &format!("selector: {{app: {app}}}"), 8080, false)
}

async fn not_ready(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let app = "not-ready";
    let ready = world.ready_file(app);
    let probe = format!("exec: {{command: [test, -e, {}]}}", ready.display());
    let published =
        ONE.manifest("one", "publishNotReadyAddresses: true\n  selector: {app: not-ready}", 8080, false);
    own.apply(&(published + &server_pod_with(app, "node1", "app: not-ready", "", &probe)))?;
    let clients = [Position::PodSameNode, Position::PodOtherNode, Position::NodeProcess, Position::External];
    for from in clients {
        becomes(world, from, frontend(world, from, ONE, false), app).await?;
    }
    own.apply(&service(ONE, "one", app))?;
    for from in clients {
        becomes(world, from, frontend(world, from, ONE, false), REFUSED).await?;
    }
    fs::write(ready, "")?;
    becomes(world, Position::External, frontend(world, Position::External, ONE, false), app).await
}

async fn other_proxy(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let plain = service(ONE, "one", "local-pod");
    let labelled =
        plain.replace("{name: one}", "{name: one, labels: {service.kubernetes.io/service-proxy-name: x}}");
    let to = (world.node_address(1, false), ONE.node_port());
    for _ in 0..2 {
        own.apply(&plain)?;
        becomes(world, Position::External, to, LOCAL_POD.name).await?;
        own.apply(&labelled)?;
        becomes(world, Position::External, to, REFUSED).await?;
    }
    Ok(())
}

async fn rolling_update(world: &World) -> anyhow::Result<()> {
    for policy in ["Cluster", "Local"] {
        let mut own = Own::new(world);
        let spec = format!("externalTrafficPolicy: {policy}\n  selector: {{app: roll}}");
        own.apply(&ONE.manifest("one", &spec, 8080, false))?;
        own.apply(&server_pod("roll-0", "node1", "app: roll"))?;
        let clients = [Position::PodSameNode, Position::NodeProcess, Position::External];
        let mut loads = Vec::new();
        for from in clients {
            let to = frontend(world, from, ONE, false);
            becomes(world, from, to, "roll-0").await?;
            let query = Query::new(Kind::Tcp, to.into());
            let load = Load { query, every: Duration::from_millis(10), one_connection: false };
            loads.push((from, world.client(from).start_load(load).await?));
        }
        for number in 1..=3 {
            let (old, new) = (format!("roll-{}", number - 1), format!("roll-{number}"));
            own.apply(&server_pod(&new, "node1", "app: roll"))?;
            let to = frontend(world, Position::External, ONE, false);
            becomes(world, Position::External, to, &new).await?;
            own.remove("Pod", &old)?;
            let pods = || async { world.lab.status().map(|status| status.pods).unwrap_or_default() };
            let gone = format!("default/{old}");
            eventually("the old pod ends", pods, |pods| pods.iter().all(|pod| pod.name != gone)).await?;
        }
        for (from, load) in loads {
            let report = world.client(from).stop_load(load).await?;
            let (failed, names) = (report.failed(), report.answers.len());
            ensure!(failed == 0 && names == 4, "policy {policy}, from {}: {report:?}", from.name());
        }
    }
    Ok(())
}

async fn terminating(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let ender = server_pod("ender", "node1", "app: ender")
        .replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 8")
        .replace("--tcp", "--linger, \"6000\", --tcp");
    own.apply(&ender)?;
    let ready = || async { world.lab.pod("default/ender").is_ok_and(|pod| pod.ready) };
    eventually("the pod is ready", ready, |ready| *ready).await?;
    let address = world.pod_address("ender", false)?;
    let inside = Runner::start(&world.lab.place("default/ender")?)?;
    own.remove("Pod", "ender")?;
    let ending = || async { world.lab.pod("default/ender").is_ok_and(|pod| pod.phase == "terminating") };
    eventually("the pod is terminating", ending, |ending| *ending).await?;
    for from in [Position::PodSameNode, Position::PodOtherNode, Position::NodeProcess] {
        let answer = name(world, from, (address, 8080)).await;
        ensure!(answer == "ender", "from {}: {answer}", from.name());
    }
    for service in [LOCAL_POD, REMOTE_POD] {
        let query = Query::new(Kind::Tcp, (service.cluster_ip(false), 80).into());
        let outcome = inside.ask(query).await?;
        ensure!(outcome.name() == Some(service.name), "from inside: {:?}", outcome.reply);
    }
    let still = world.lab.pod("default/ender")?.phase;
    ensure!(still == "terminating", "it was {still} at the end");
    Ok(())
}

/// The manifest of a type, and which of ClusterIP, NodePort, balancer and external address it has.
fn of_type(name: &str) -> (String, [bool; 4]) {
    let whole = service(ONE, "one", "remote-pod");
    let without = |text: &str, words: &[&str]| {
        let kept = text.lines().filter(|line| !words.iter().any(|word| line.contains(word)));
        kept.map(|line| format!("{line}\n")).collect::<String>()
    };
    let no_node_port = |text: String| text.replace(&format!(", nodePort: {}", ONE.node_port()), "");
    let internal = without(&whole, &["externalIPs", "status:", "loadBalancer:"]);
    match name {
        "ClusterIP" => (no_node_port(internal).replace("LoadBalancer", name), [true, false, false, false]),
        "NodePort" => (internal.replace("LoadBalancer", name), [true, true, false, false]),
        "LoadBalancer" => (without(&whole, &["externalIPs"]), [true, true, true, false]),
        "external addresses" => {
            let text = without(&whole, &["status:", "loadBalancer:"]).replace("LoadBalancer", "ClusterIP");
            (no_node_port(text), [true, false, false, true])
        }
        _ => {
            let head = "---\napiVersion: v1\nkind: Service\nmetadata: {name: one}\n";
            (format!("{head}spec: {{type: ExternalName, externalName: example.test}}\n"), [false; 4])
        }
    }
}

async fn types(world: &World) -> anyhow::Result<()> {
    const TYPES: [&str; 5] = ["ClusterIP", "NodePort", "LoadBalancer", "external addresses", "ExternalName"];
    let mut own = Own::new(world);
    // Every change from one to another, in one walk.
    let mut walk = Vec::new();
    for (place, from) in TYPES.into_iter().enumerate() {
        walk.push(from);
        for to in TYPES.into_iter().skip(place + 1) {
            walk.extend([to, from]);
        }
    }
    for (index, kind) in walk.into_iter().enumerate() {
        let (text, has) = of_type(kind);
        own.apply(&text)?;
        let node_port: (IpAddr, u16) = (world.node_address(2, false), ONE.node_port());
        let frontends = [
            (Position::PodSameNode, (ONE.cluster_ip(false), 80)),
            (Position::External, node_port),
            (Position::External, (ONE.balancer_ip(false), 80)),
            (Position::External, (ONE.external_ip(false), 80)),
        ];
        let all = frontends.into_iter().zip(has).map(|((from, to), has)| async move {
            // What is no Service's is the network's business, which answers in its own way, or not at all.
            let query = Query { timeout: Duration::from_millis(300), ..Query::new(Kind::Tcp, to.into()) };
            let ask = || async { world.client(from).ask(query).await.ok()?.name().map(String::from) };
            let right = |name: &Option<String>| (name.as_deref() == Some(REMOTE_POD.name)) == has;
            let what = format!("change {index}, to {kind}: {to:?} is there: {has}");
            eventually(&what, ask, right).await
        });
        futures::future::try_join_all(all).await?;
    }
    Ok(())
}

async fn returns(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let clients = [Position::PodSameNode, Position::NodeProcess, Position::External];
    for app in ["local-pod", "remote-pod"] {
        own.apply(&service(ONE, "one", app))?;
        for from in clients {
            becomes(world, from, frontend(world, from, ONE, false), app).await?;
        }
        own.remove("Service", "one")?;
        let gone = |name: &String| name != app;
        for from in clients {
            let to = frontend(world, from, ONE, false);
            eventually("the Service is gone", || name(world, from, to), gone).await?;
        }
    }
    // A node port that changes, and a port that is added and removed.
    let plain = service(ONE, "one", "local-pod");
    own.apply(&plain.replace("nodePort: 31032", "nodePort: 31999"))?;
    becomes(world, Position::External, (world.node_address(1, false), 31_999), "local-pod").await?;
    let more = "  ports:\n    - {name: more, protocol: TCP, port: 81, targetPort: 8080}\n";
    own.apply(&plain.replace("  ports:\n", more))?;
    becomes(world, Position::PodSameNode, (ONE.cluster_ip(false), 81), "local-pod").await?;
    becomes(world, Position::External, (world.node_address(1, false), 31_999), REFUSED).await?;
    own.apply(&plain)?;
    let to = (ONE.cluster_ip(false), 81);
    eventually("the port is gone", || name(world, Position::PodSameNode, to), |name| name != "local-pod")
        .await?;
    becomes(world, Position::PodSameNode, (ONE.cluster_ip(false), 80), "local-pod").await
}

async fn address_moves(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let to = (ONE.external_ip(false), 80);
    own.apply(&service(ONE, "one", "local-pod"))?;
    becomes(world, Position::External, to, "local-pod").await?;
    let two = service(TWO, "two", "remote-pod");
    // Both have it for a while.
    let claimed = two.replace(&TWO.external_ip(false).to_string(), &ONE.external_ip(false).to_string());
    own.apply(&claimed)?;
    becomes(world, Position::PodSameNode, (TWO.cluster_ip(false), 80), "remote-pod").await?;
    let during = name(world, Position::External, to).await;
    ensure!(["local-pod", "remote-pod"].contains(&during.as_str()), "while both claim it: {during}");
    let one = service(ONE, "one", "local-pod");
    own.apply(&one.replace(&format!("\"{}\", ", ONE.external_ip(false)), ""))?;
    becomes(world, Position::External, to, "remote-pod").await
}

async fn shared_address(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let shared = ONE.balancer_ip(false).to_string();
    let one = |port: u16| {
        let text = service(ONE, "one", "local-pod");
        text.replace("protocol: TCP, port: 80", &format!("protocol: TCP, port: {port}"))
    };
    let two = |port: u16| {
        let text = service(TWO, "two", "remote-pod").replace(&TWO.balancer_ip(false).to_string(), &shared);
        text.replace("protocol: TCP, port: 80", &format!("protocol: TCP, port: {port}"))
            .lines()
            .filter(|line| !line.contains("protocol: UDP"))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    for (first, second) in [(8001, 8002), (8002, 8001)] {
        own.apply(&(one(first) + &two(second)))?;
        let address = ONE.balancer_ip(false);
        becomes(world, Position::External, (address, first), "local-pod").await?;
        becomes(world, Position::External, (address, second), "remote-pod").await?;
        let query = Query::new(Kind::Udp, (address, 80).into());
        let outcome = world.client(Position::External).ask(query).await?;
        ensure!(outcome.name() == Some("local-pod"), "the other protocol: {:?}", outcome.reply);
    }
    Ok(())
}
