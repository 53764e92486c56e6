//! What the pages answer, asked for over HTTP.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use fairway_proto::control::Version;
use fairway_proto::model::{Cluster, Node, NodeObject, Resource};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::*;
use crate::resolve::LocalNode;
use crate::sync::SyncState;

/// An answer over HTTP.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Page {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// GET; none if nobody listens.
pub(super) async fn page(to: SocketAddr, path: &str) -> Option<Page> {
    let mut stream = TcpStream::connect(to).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    };
    Some(Page { status, headers: lines.filter_map(header).collect(), body: body.to_owned() })
}

/// The pages of a node `a`.
struct World {
    state: watch::Sender<Arc<SyncState>>,
    metrics: Arc<Metrics>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    async fn start() -> Self {
        let node = LocalNode { name: "a".into(), ..LocalNode::default() };
        let state = watch::Sender::new(Arc::new(SyncState { node, ..SyncState::default() }));
        let (metrics, stop) = (Arc::<Metrics>::default(), CancellationToken::new());
        let listener = listen("health-address", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = pages(Health::new(state.subscribe(), metrics.clone()));
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(axum::serve(listener, routes).with_graceful_shutdown(stopped).into_future());
        Self { state, metrics, address, stop }
    }

    fn change(&self, change: impl FnOnce(&mut SyncState)) {
        self.state.send_modify(|state| change(Arc::make_mut(state)));
    }

    fn node(&self, object: Option<NodeObject>) {
        let mut cluster = Cluster::default();
        let name = "a".to_owned();
        cluster.insert(Resource::Node(Node {
            name,
            addresses: vec![],
            pod_cidrs: vec![],
            zone: None,
            object,
        }));
        self.change(|state| state.cluster = Arc::new(cluster));
    }

    async fn get(&self, path: &str) -> Page {
        page(self.address, path).await.unwrap()
    }

    /// What /healthz and /livez answer.
    async fn codes(&self) -> (u16, u16) {
        (self.get("/healthz").await.status, self.get("/livez").await.status)
    }
}

// S109
#[tokio::test]
async fn a_change_that_waits_for_two_sync_periods_is_unhealthy_and_dead() {
    let world = World::start().await;
    assert_eq!(world.codes().await, (200, 200));
    world.metrics.queued();
    assert_eq!(world.codes().await, (200, 200));
    let Some(since) = Instant::now().checked_sub(probes::LATE + Duration::from_secs(1)) else {
        return; // The machine has been up for a minute at most.
    };
    world.metrics.waits_since(since);
    assert_eq!(world.codes().await, (503, 503));
    let json = world.get("/livez").await.json();
    assert_eq!(json["healthy"], false);
    assert_eq!(json["reasons"][0], "a change has waited for 61 s to be applied");
    world.metrics.nothing_to_do();
    assert_eq!(world.codes().await, (200, 200));
}

// S109
#[tokio::test]
async fn a_node_that_is_about_to_go_is_unhealthy_but_alive() {
    let world = World::start().await;
    let tainted = |key: &str| Some(NodeObject { deleting: false, taints: vec!["other".into(), key.into()] });
    world.node(Some(NodeObject::default()));
    assert_eq!(world.codes().await, (200, 200));
    world.node(tainted("node.kubernetes.io/unschedulable"));
    assert_eq!(world.codes().await, (200, 200));
    world.node(tainted("ToBeDeletedByClusterAutoscaler"));
    assert_eq!(world.codes().await, (503, 200));
    let json = world.get("/healthz").await.json();
    assert_eq!((&json["nodeEligible"], &json["healthy"]), (&Value::Bool(false), &Value::Bool(false)));
    world.node(Some(NodeObject { deleting: true, taints: vec![] }));
    assert_eq!(world.codes().await, (503, 200));
    world.node(None);
    world.change(|state| state.node_deleted = true);
    assert_eq!(world.codes().await, (503, 200));
}

// S109
#[tokio::test]
async fn a_node_that_has_no_object_was_not_deleted() {
    let world = World::start().await;
    assert_eq!(world.codes().await, (200, 200));
    world.node(None);
    assert_eq!(world.codes().await, (200, 200));
}

// S109
#[tokio::test]
async fn the_answers_have_the_fields_of_kube_proxy() {
    let world = World::start().await;
    let before = world.get("/healthz").await;
    assert_eq!(before.header("content-type"), Some("application/json"));
    assert_eq!(before.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(before.json()["status"], serde_json::json!({}), "nothing was applied yet");

    let updated = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    world.change(|state| state.applied_at = Some(updated));
    let json = world.get("/healthz").await.json();
    let names: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(names, ["currentTime", "healthy", "lastUpdated", "nodeEligible", "status"]);
    assert_eq!(json["lastUpdated"], json["currentTime"], "while nothing is wrong");
    let family = serde_json::json!({"lastUpdated": "2023-11-14T22:13:20Z", "healthy": true});
    assert_eq!(json["status"], serde_json::json!({"IPv4": family, "IPv6": family}));
    assert_eq!(world.get("/livez").await.json().get("nodeEligible"), None);

    world.node(Some(NodeObject { deleting: true, taints: vec![] }));
    let json = world.get("/healthz").await.json();
    assert_eq!(json["lastUpdated"], "2023-11-14T22:13:20Z");
    assert_eq!(json["status"]["IPv4"]["healthy"], true, "the node goes, not the data path");
}

#[tokio::test]
async fn it_is_ready_when_a_state_is_applied() {
    let world = World::start().await;
    assert_eq!(world.get("/readyz").await.status, 503);
    world.change(|state| state.applied = Some(Version { epoch: 1, number: 1, digest: 0 }));
    assert_eq!(world.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn the_proxy_mode_is_plain_text() {
    let world = World::start().await;
    let page = world.get("/proxyMode").await;
    assert_eq!((page.status, page.body.as_str()), (200, "fairway"));
    assert_eq!(page.header("content-type"), Some("text/plain; charset=utf-8"));
}
