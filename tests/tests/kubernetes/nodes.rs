//! Real nodes and real traffic, with an API server outside that says what there is: first through a control plane, then
//! to an agent alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use fairway_tests::apiserver::{ApiServer, Kind as ObjectKind, Options, Verb};
use fairway_tests::eventually_within;
use fairway_tests::lab::{Families, Running, SocketLb, State, server_pod};
use fairway_tests::traffic::{Kind, Load, Query, Runner};
use fairway_tests::trial::Trial;
use futures::FutureExt;

pub(crate) const TRIALS: &[Trial<World>] = &[
    ("services_of_a_cluster_are_served_from_every_position", |world| served(world).boxed()),
    ("connections_follow_the_slices_of_a_cluster", |world| followed(world).boxed()),
    ("the_condition_of_each_node_is_set_once_and_nothing_else_is_written", |world| conditions(world).boxed()),
    ("an_api_server_and_a_control_plane_that_are_down_cost_no_connection", |world| down(world).boxed()),
    ("an_agent_serves_a_cluster_without_a_control_plane", |world| alone(world).boxed()),
];

const PODS: [(&str, &str); 3] = [("pod1", "node1"), ("pod2", "node2"), ("client-pod", "node1")];
const SERVERS: [&str; 2] = ["pod1", "pod2"];
const NODE_PORT: u16 = 30_050;
const CLUSTER_IP: &str = "10.96.0.50";
const PATIENCE: Duration = Duration::from_secs(60);

/// A lab whose control plane reads an API server.
pub(crate) struct World {
    pub(crate) lab: Running,
    server: ApiServer,
    clients: BTreeMap<&'static str, Runner>,
}

fn service() -> String {
    format!(
        r#"---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default}}
spec:
  type: NodePort
  clusterIP: {CLUSTER_IP}
  clusterIPs: [{CLUSTER_IP}]
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  selector: {{app: web}}
  ports:
    - {{name: http, protocol: TCP, port: 80, targetPort: 8080, nodePort: {NODE_PORT}}}
"#
    )
}

impl World {
    pub(crate) async fn up() -> anyhow::Result<Self> {
        let lab = Running::up(State::of_this_process("k8s", 2, Families::Ipv4, SocketLb::All)).await?;
        let pods: String = PODS.iter().map(|(name, node)| server_pod(name, node, "app: web")).collect();
        lab.manifests().apply_text(&pods)?;
        lab.pods_ready(PODS.len()).await?;
        let server = start_server(&lab).await?;
        let places = [("client-pod", "default/client-pod"), ("node1", "node1"), ("client", "client")];
        let clients = places.map(|(name, place)| Ok((name, Runner::start(&lab.place(place)?)?)));
        let clients = clients.into_iter().collect::<anyhow::Result<_>>()?;
        let world = Self { lab, server, clients };
        world.slice(&SERVERS)?;
        // From now on it is the API server that counts.
        lab_state(&world.lab, |state| {
            let directory = state.directory();
            world.server.kubeconfig(&directory).map(|path| state.kubeconfig = Some(path))
        })?;
        world.restart("control")?;
        Ok(world)
    }

    fn restart(&self, process: &str) -> anyhow::Result<()> {
        self.lab.stop(process, false)?;
        Ok(self.lab.start(process)?)
    }

    /// As Kubernetes' controller writes it, with the pods of these names.
    fn slice(&self, pods: &[&str]) -> anyhow::Result<()> {
        let mut endpoints = String::new();
        for name in pods {
            let pod = self.lab.pod(&format!("default/{name}"))?;
            let address = pod.addresses.first().context("a pod without an address")?;
            let node = PODS.iter().find(|(pod, _)| pod == name).map(|(_, node)| *node).unwrap_or_default();
            endpoints += &format!(
                "  - addresses: [\"{address}\"]\n    conditions: {{ready: true, serving: true, terminating: \
                 false}}\n    nodeName: {node}\n    targetRef: {{kind: Pod, name: {name}, namespace: default}}\n"
            );
        }
        let endpoints = if endpoints.is_empty() { " []".into() } else { format!("\n{endpoints}") };
        self.server.apply(&format!(
            r#"---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-7xk2p
  namespace: default
  labels:
    kubernetes.io/service-name: web
    endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
addressType: IPv4
ports:
  - {{name: http, protocol: TCP, port: 8080}}
endpoints:{endpoints}
"#
        ))
    }

    /// Where the Service is, as that client sees it.
    fn frontend(&self, client: &str) -> anyhow::Result<SocketAddr> {
        if client == "client" {
            let nodes = self.lab.state.plan.node(1);
            let node = nodes.first().context("a node without an address")?;
            return Ok((node.addr(), NODE_PORT).into());
        }
        Ok((CLUSTER_IP.parse::<IpAddr>()?, 80).into())
    }

    fn query(&self, client: &str) -> anyhow::Result<Query> {
        let query = Query::new(Kind::Tcp, self.frontend(client)?);
        Ok(Query { timeout: Duration::from_millis(500), ..query })
    }

    /// Waits until exactly these pods answer a client, in thirty questions.
    async fn answered_by(&self, client: &str, pods: &[&str]) -> anyhow::Result<()> {
        let query = self.query(client)?;
        let runner = &self.clients[client];
        let ask = || async {
            let mut names = BTreeMap::new();
            for _ in 0..30 {
                let outcome = runner.ask(query).await;
                let name = outcome.ok().and_then(|outcome| outcome.name().map(str::to_owned));
                *names.entry(name).or_insert(0) += 1;
            }
            names
        };
        let wanted = |names: &BTreeMap<Option<String>, i32>| {
            let names: Vec<_> = names.keys().map(Option::as_deref).collect();
            names == pods.iter().copied().map(Some).collect::<Vec<_>>()
        };
        let what = format!("{client} is answered by {pods:?}");
        eventually_within(PATIENCE, &what, ask, wanted).await.map(drop)
    }

    async fn load(
        &self,
        client: &str,
        one_connection: bool,
    ) -> anyhow::Result<fairway_tests::traffic::RunningLoad> {
        let query = Query::new(Kind::Tcp, self.frontend(client)?);
        let load = Load { query, every: Duration::from_millis(10), one_connection };
        Ok(self.clients[client].start_load(load).await?)
    }
}

/// An API server at the lab's client, which the nodes reach.
async fn start_server(lab: &Running) -> anyhow::Result<ApiServer> {
    let client = lab.state.plan.client();
    let address = client.first().context("the client has no address")?.addr();
    let server = ApiServer::start_in(Options::default(), lab.state.netns("client"), address).await?;
    for object in lab.manifests().all().0.into_iter().filter(|object| object.kind() == "Node") {
        let mut node = object.value;
        let number = node["metadata"]["name"].as_str().and_then(|name| lab.state.plan.number(name));
        let addresses = number.map(|number| lab.state.plan.node(number)).unwrap_or_default();
        node["status"]["addresses"] = addresses
            .iter()
            .map(|address| serde_json::json!({ "type": "InternalIP", "address": address.addr() }))
            .collect();
        server.put(node)?;
    }
    server.apply(&service())?;
    Ok(server)
}

/// Changes what the lab's processes read when they start.
fn lab_state(lab: &Running, change: impl FnOnce(&mut State) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut state = State::load(&lab.state.id)?;
    change(&mut state)?;
    Ok(state.save()?)
}

async fn served(world: &World) -> anyhow::Result<()> {
    for client in ["client-pod", "node1", "client"] {
        world.answered_by(client, &SERVERS).await?;
    }
    Ok(())
}

async fn followed(world: &World) -> anyhow::Result<()> {
    world.slice(&["pod2"])?;
    for client in ["client-pod", "node1", "client"] {
        world.answered_by(client, &["pod2"]).await?;
    }
    world.slice(&SERVERS)?;
    world.answered_by("client-pod", &SERVERS).await
}

async fn conditions(world: &World) -> anyhow::Result<()> {
    for node in ["node1", "node2"] {
        let conditions = || async { world.server.node_conditions(node) };
        let available = |conditions: &Vec<serde_json::Value>| {
            let of_network = |condition: &&serde_json::Value| condition["type"] == "NetworkUnavailable";
            conditions.iter().filter(of_network).any(|condition| condition["status"] == "False")
        };
        eventually_within(PATIENCE, "the node's network is available", conditions, available).await?;
    }
    // The condition stands: a control plane that starts again leaves it alone.
    world.restart("control")?;
    world.slice(&["pod1"])?;
    world.answered_by("client-pod", &["pod1"]).await?;
    world.slice(&SERVERS)?;
    world.answered_by("client-pod", &SERVERS).await?;
    let written = world.server.count(Verb::Patch, ObjectKind::Node);
    ensure!(written == 2, "{written} conditions were written");
    let events = world.server.events();
    ensure!(events.is_empty(), "{events:?}");
    Ok(())
}

async fn down(world: &World) -> anyhow::Result<()> {
    let mut loads = Vec::new();
    for (client, one_connection) in
        [("client-pod", true), ("client-pod", false), ("node1", false), ("client", true), ("client", false)]
    {
        loads.push((client, one_connection, world.load(client, one_connection).await?));
    }
    world.server.set_down(true)?;
    // One that starts while there is no API server knows nothing, and takes nothing away.
    world.restart("control")?;
    for _ in 0..200 {
        world.clients["client-pod"].ask(world.query("client-pod")?).await?;
    }
    world.server.set_down(false)?;
    world.slice(&["pod1"])?;
    let followed = world.answered_by("node1", &["pod1"]).await;
    world.slice(&SERVERS)?;
    let mut wrong = Vec::new();
    for (client, one_connection, load) in loads {
        let report = world.clients[client].stop_load(load).await?;
        if report.failed() > 0 || report.asked < 10 {
            wrong.push(format!("{client}, one connection: {one_connection}: {report:?}"));
        }
    }
    followed?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    world.answered_by("node1", &SERVERS).await
}

async fn alone(world: &World) -> anyhow::Result<()> {
    let load = world.load("client-pod", true).await?;
    world.lab.stop("control", false)?;
    lab_state(&world.lab, |state| {
        let kubeconfig = state.kubeconfig.clone().context("no kubeconfig")?;
        state.settings.insert("kubernetes".into(), "true".into());
        state.settings.insert("kubeconfig".into(), kubeconfig.display().to_string());
        Ok(())
    })?;
    world.restart("node1")?;
    world.slice(&["pod2"])?;
    for client in ["client-pod", "node1", "client"] {
        world.answered_by(client, &["pod2"]).await?;
    }
    world.slice(&SERVERS)?;
    world.answered_by("client-pod", &SERVERS).await?;
    let report = world.clients["client-pod"].stop_load(load).await?;
    ensure!(report.failed() == 0 && report.asked > 10, "{report:?}");
    let status = world.lab.run("node1", &["fairway", "status"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure!(status.contains("the Kubernetes API"), "`fairway status` says: {status}");
    Ok(())
}
