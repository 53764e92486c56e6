//! What load balancers ask the nodes: health check ports of Services, and the agents' own pages.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use fairway_tests::eventually;
use fairway_tests::traffic::{http_status, http_text};
use futures::FutureExt;
use serde_json::{Value, json};

use super::services::LOCAL_POD;
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S105, S108
    ("a_health_check_port_counts_local_endpoints_at_every_node_address", |world| counts(world).boxed()),
    // S106
    ("a_terminating_endpoint_serves_but_does_not_count", |world| terminating(world).boxed()),
    // S107
    ("a_health_check_port_follows_the_external_policy", |world| policy(world).boxed()),
    // S109
    ("a_node_that_is_about_to_go_is_unhealthy_but_alive", |world| leaving(world).boxed()),
    ("the_metrics_of_kube_proxy_are_served", |world| metrics(world).boxed()),
];

const NAME: &str = "balanced";
const PORT: u16 = 31_900;
const NODE_PORT: u16 = 31_901;
const AGAIN: u16 = 31_902;
const TIMEOUT: Duration = Duration::from_millis(1500);

/// What a health check port says; none: nobody listens there.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    endpoints: u64,
}

fn service(policy: &str) -> String {
    format!(
        r#"---
apiVersion: v1
kind: Service
metadata: {{name: {NAME}}}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  clusterIP: 10.96.1.200
  clusterIPs: [10.96.1.200, "fd00:10:96::c8"]
  externalTrafficPolicy: {policy}
  healthCheckNodePort: {PORT}
  ports: [{{name: tcp, port: 80, targetPort: 8080, nodePort: {NODE_PORT}}}, {{name: again, port: 81, targetPort: 8081, nodePort: {AGAIN}}}]
"#
    )
}

/// The pod of node1, at two ports.
fn slices(world: &World, conditions: &str) -> anyhow::Result<String> {
    let slice = |(name, family, address): (&str, &str, IpAddr)| {
        format!(
            r#"---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {NAME}-{name}, labels: {{kubernetes.io/service-name: {NAME}}}}}
addressType: {family}
ports: [{{name: tcp, port: 8080}}, {{name: again, port: 8081}}]
endpoints: [{{addresses: ["{address}"], nodeName: node1, conditions: {conditions}}}]
"#
        )
    };
    let v4 = ("v4", "IPv4", world.pod_address(LOCAL_POD.name, false)?);
    let v6 = ("v6", "IPv6", world.pod_address(LOCAL_POD.name, true)?);
    Ok([v4, v6].map(slice).concat())
}

const READY: &str = "{ready: true, serving: true, terminating: false}";
const TERMINATING: &str = "{ready: false, serving: true, terminating: true}";

/// Asks from outside of the cluster.
fn ask(world: &World, node: u8, v6: bool) -> io::Result<Option<Answer>> {
    let to = SocketAddr::new(world.node_address(node, v6), PORT);
    let asked = world
        .lab
        .state
        .netns("client")
        .within(|| Ok((http_status(to, "/any/path", TIMEOUT)?, http_text(to, "/", TIMEOUT)?)));
    let (status, body) = match asked {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        other => other?,
    };
    let body: Value = serde_json::from_str(&body)?;
    let endpoints = body["localEndpoints"].as_u64().unwrap_or(u64::MAX);
    let service = json!({"namespace": "default", "name": NAME});
    let wanted = json!({"service": service, "localEndpoints": endpoints, "serviceProxyHealthy": true});
    if body == wanted {
        Ok(Some(Answer { status, endpoints }))
    } else {
        Err(io::Error::other(body.to_string()))
    }
}

/// Waits until both families of a node say so; none: closed.
async fn says(world: &World, node: u8, wanted: Option<Answer>) -> anyhow::Result<()> {
    for v6 in [false, true] {
        let what = format!("the health check port of node{node}, v6 {v6}");
        let asked = || async { ask(world, node, v6).map_err(|error| error.to_string()) };
        eventually(&what, asked, |said| said.as_ref().is_ok_and(|said| *said == wanted)).await?.ok();
    }
    Ok(())
}

fn serves(endpoints: u64) -> Option<Answer> {
    Some(Answer { status: if endpoints > 0 { 200 } else { 503 }, endpoints })
}

fn remove(world: &World) -> anyhow::Result<()> {
    let manifests = world.lab.manifests();
    manifests.remove("Service", &format!("default/{NAME}"))?;
    for family in ["v4", "v6"] {
        manifests.remove("EndpointSlice", &format!("default/{NAME}-{family}"))?;
    }
    Ok(())
}

async fn counts(world: &World) -> anyhow::Result<()> {
    world.lab.manifests().apply_text(&(service("Local") + &slices(world, READY)?))?;
    says(world, 1, serves(1)).await?;
    says(world, 2, serves(0)).await?;
    let local = SocketAddr::from(([127, 0, 0, 1], PORT));
    let inside = world.lab.state.netns("node1").within(|| http_status(local, "/", TIMEOUT));
    let refused = inside.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    ensure!(refused, "127.0.0.1 of the node answers too: {inside:?}");
    remove(world)?;
    says(world, 1, None).await?;
    says(world, 2, None).await
}

async fn terminating(world: &World) -> anyhow::Result<()> {
    let manifests = world.lab.manifests();
    manifests.apply_text(&(service("Local") + &slices(world, READY)?))?;
    says(world, 1, serves(1)).await?;
    manifests.apply_text(&slices(world, TERMINATING)?)?;
    says(world, 1, serves(0)).await?;
    for v6 in [false, true] {
        let to = (world.node_address(1, v6), NODE_PORT);
        let name = world.ask_name(Position::External, to).await?;
        ensure!(name == LOCAL_POD.name, "v6 {v6}: {name}");
    }
    remove(world)
}

async fn policy(world: &World) -> anyhow::Result<()> {
    let manifests = world.lab.manifests();
    manifests.apply_text(&(service("Local") + &slices(world, READY)?))?;
    for _ in 0..2 {
        says(world, 1, serves(1)).await?;
        manifests.apply_text(&service("Cluster"))?;
        says(world, 1, None).await?;
        says(world, 2, None).await?;
        manifests.apply_text(&service("Local"))?;
    }
    says(world, 1, serves(1)).await?;
    remove(world)
}

/// What /healthz and /livez of node2 answer.
fn pages(world: &World) -> io::Result<(u16, u16)> {
    let to = SocketAddr::from(([127, 0, 0, 1], 10256));
    world
        .lab
        .state
        .netns("node2")
        .within(|| Ok((http_status(to, "/healthz", TIMEOUT)?, http_status(to, "/livez", TIMEOUT)?)))
}

async fn answer_pages(world: &World, wanted: (u16, u16)) -> anyhow::Result<()> {
    let asked = || async { pages(world).map_err(|error| error.to_string()) };
    eventually("the pages of node2", asked, |got| *got == Ok(wanted)).await?.ok();
    Ok(())
}

async fn leaving(world: &World) -> anyhow::Result<()> {
    let manifests = world.lab.manifests();
    let (objects, _) = manifests.all();
    let is_node2 =
        |object: &&fairway_tests::lab::Object| object.kind() == "Node" && object.name().ends_with("/node2");
    let node = objects.iter().find(is_node2).context("the lab declares its nodes")?;
    answer_pages(world, (200, 200)).await?;
    let mut tainted = node.clone();
    tainted.value["spec"]["taints"] =
        json!([{"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}]);
    manifests.put(&[tainted])?;
    let left = answer_pages(world, (503, 200)).await;
    manifests.put(std::slice::from_ref(node))?;
    left?;
    answer_pages(world, (200, 200)).await
}

async fn metrics(world: &World) -> anyhow::Result<()> {
    let to = SocketAddr::from(([127, 0, 0, 1], 10256));
    let text = world.lab.state.netns("node1").within(|| http_text(to, "/metrics", TIMEOUT))?;
    for name in [
        "kubeproxy_sync_proxy_rules_duration_seconds_count",
        "kubeproxy_sync_full_proxy_rules_duration_seconds_count",
        "kubeproxy_sync_proxy_rules_service_changes_total",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total",
        "kubeproxy_conntrack_reconciler_sync_duration_seconds_count",
    ] {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        ensure!(value.is_some_and(|value| value > 0.0), "`{name}` is {line:?}");
    }
    ensure!(text.ends_with("# EOF\n"), "the text is cut short");
    Ok(())
}
