//! The loop against a control plane that says what the test says, and tables in memory.

mod control;
mod counts;
mod disk;
mod host_ports;
mod outages;
mod replicas;
mod skew;
mod tables;
mod tls;

use std::path::Path;
use std::time::Duration;

use fairway_proto::control::{
    self as message, Protocol, Resource, SubscribeResponse, resource, subscribe_request::Body,
};
use tokio::sync::watch;

use self::control::FakeControl;
use self::tables::Memory;
use super::*;

/// Waits until `value` gives something; fails after a few seconds with what `what` says.
pub(super) async fn eventually<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(tokio::time::Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) fn version(number: u64) -> Version {
    Version { epoch: 7, number, digest: 0 }
}

pub(super) fn service(name: &str, cluster_ip: &str) -> Resource {
    let service = message::Service {
        namespace: "default".into(),
        name: name.into(),
        r#type: message::service::Type::NodePort.into(),
        cluster_ips: vec![cluster_ip.into()],
        ports: vec![message::ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp.into(),
            port: 80,
            node_port: 30080,
        }],
        ..Default::default()
    };
    Resource { body: Some(resource::Body::Service(service)) }
}

pub(super) fn slice(service: &str, address: &str) -> Resource {
    let slice = message::EndpointSlice {
        namespace: "default".into(),
        name: format!("{service}-1"),
        service: service.into(),
        ports: vec![message::EndpointPort {
            name: "http".into(),
            protocol: Protocol::Tcp.into(),
            port: 8080,
        }],
        endpoints: vec![message::Endpoint {
            addresses: vec![address.into()],
            ready: true,
            serving: true,
            ..Default::default()
        }],
        last_change_trigger_time: 0,
    };
    Resource { body: Some(resource::Body::EndpointSlice(slice)) }
}

pub(super) fn snapshot(number: u64, changed: Vec<Resource>) -> SubscribeResponse {
    SubscribeResponse { snapshot: true, ..delta(number, changed) }
}

pub(super) fn delta(number: u64, changed: Vec<Resource>) -> SubscribeResponse {
    SubscribeResponse {
        version: Some(version(number)),
        snapshot: false,
        complete: true,
        changed,
        removed: vec![],
    }
}

/// A running loop.
struct Agent {
    tables: Arc<Mutex<Memory>>,
    state: watch::Sender<Arc<SyncState>>,
    node: watch::Sender<LocalNode>,
    pods: watch::Sender<Vec<PodStatus>>,
    host_ports: watch::Sender<HostPorts>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    fn start(state_dir: &Path, source: Option<Source>, tables: Arc<Mutex<Memory>>) -> Self {
        let state: watch::Sender<Arc<SyncState>> = watch::Sender::default();
        let node = watch::Sender::new(LocalNode {
            name: "a".into(),
            addresses: vec!["192.168.0.1".parse().unwrap()],
            ..LocalNode::default()
        });
        let pods = watch::Sender::new(vec![]);
        let host_ports = watch::Sender::default();
        let metrics = Arc::<Metrics>::default();
        let stop = CancellationToken::new();
        let options = Options {
            source,
            state_dir: state_dir.to_owned(),
            limits: Limits::default(),
            node: node.subscribe(),
            pod_cidrs: vec![],
            reports: pods.subscribe(),
            host_ports: host_ports.subscribe(),
            metrics: metrics.clone(),
            repairs: Arc::default(),
        };
        let running = run(tables.clone(), state.clone(), options, stop.clone());
        let task = tokio::spawn(async move { running.await.unwrap() });
        Self { tables, state, node, pods, host_ports, metrics, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    fn served(&self) -> Vec<String> {
        self.tables.lock().unwrap().served()
    }

    async fn serves(&self, wanted: &[&str]) {
        let mut last = vec![];
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        while last != wanted {
            assert!(tokio::time::Instant::now() < until, "serves {last:?}, not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
            last = self.served();
        }
    }
}

fn empty() -> Arc<Mutex<Memory>> {
    Arc::default()
}

const WEB: &[&str] = &["10.96.0.1:80 -> 10.0.0.1:8080", "192.168.0.1:30080 -> 10.0.0.1:8080"];

fn web() -> Vec<Resource> {
    vec![service("web", "10.96.0.1"), slice("web", "10.0.0.1")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_acknowledged_when_the_tables_hold_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    let hello = control.hello().await;
    assert_eq!(hello.applied, None);
    assert_eq!(hello.node.unwrap().addresses, ["192.168.0.1"]);
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    assert_eq!(agent.served(), WEB);
    eventually("the state names the version", || {
        (agent.state.borrow().applied == Some(version(1))).then_some(())
    })
    .await;
    let state = agent.state.borrow().clone();
    assert_eq!(state.origin, Origin::ControlPlane);
    assert!(matches!(state.control_plane, ControlPlane::Connected { .. }));
    assert_eq!(state.service_ids.len(), 1);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_complete_changes_nothing() {
    // S104
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    // A second snapshot, of which only the first half arrives.
    let half = SubscribeResponse { complete: false, ..snapshot(2, vec![service("other", "10.96.0.2")]) };
    control.send(half).await;
    control.cut();
    assert_eq!(control.hello().await.applied, Some(version(1)));
    assert_eq!(agent.served(), WEB);
    // The delta is relative to version 1, not to the half.
    control.send(delta(3, vec![slice("web", "10.0.0.9")])).await;
    assert_eq!(control.answer().await, Ok(version(3)));
    agent.serves(&["10.96.0.1:80 -> 10.0.0.9:8080", "192.168.0.1:30080 -> 10.0.0.9:8080"]).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_resource_is_rejected_by_name_and_the_state_before_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    let bad = service("bad", "10.96.0.300");
    control.send(delta(2, vec![bad, slice("web", "10.0.0.2")])).await;
    let (rejected, reason) = control.answer().await.unwrap_err();
    assert_eq!(rejected, version(2));
    assert!(reason.starts_with("Service `default/bad`: cluster_ips: `10.96.0.300`"), "{reason}");
    assert_eq!(agent.served(), WEB);
    assert_eq!(agent.state.borrow().errors, [reason]);
    // The correction brings in also what was rejected with it.
    let corrected = SubscribeResponse {
        removed: vec![message::ResourceName {
            kind: message::resource_name::Kind::Service.into(),
            namespace: "default".into(),
            name: "bad".into(),
        }],
        ..delta(3, vec![])
    };
    control.send(corrected).await;
    assert_eq!(control.answer().await, Ok(version(3)));
    agent.serves(&["10.96.0.1:80 -> 10.0.0.2:8080", "192.168.0.1:30080 -> 10.0.0.2:8080"]).await;
    eventually("no error is left", || agent.state.borrow().errors.is_empty().then_some(())).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_the_control_plane_empties_nothing_and_a_reboot_serves_the_last_state() {
    // S104
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    let source = control.source();
    drop(control);
    eventually("the loss is noticed", || {
        matches!(agent.state.borrow().control_plane, ControlPlane::Disconnected { .. }).then_some(())
    })
    .await;
    assert_eq!(agent.served(), WEB);
    agent.stop().await;

    // After a reboot the tables are empty; the control plane is still away.
    let agent = Agent::start(dir.path(), Some(source), empty());
    agent.serves(WEB).await;
    eventually("it says so", || (agent.state.borrow().origin == Origin::Disk).then_some(())).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_state_the_kernels_entries_stay() {
    // S104
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let tables = empty();
    let agent = Agent::start(dir.path(), Some(control.source()), tables.clone());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    agent.stop().await;
    std::fs::write(dir.path().join("cluster.pb"), b"fairway2 and then nonsense").unwrap();
    let writes = tables.lock().unwrap().writes;

    let agent = Agent::start(dir.path(), Some(control.source()), tables.clone());
    assert_eq!(control.hello().await.applied, None);
    assert_eq!(agent.served(), WEB);
    // The same state again: nothing is written.
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    assert_eq!(tables.lock().unwrap().writes, writes);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_is_reported_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    agent.tables.lock().unwrap().fail_after = Some(1);
    control.send(snapshot(1, web())).await;
    let (_, reason) = control.answer().await.unwrap_err();
    assert_eq!(reason, "the service table cannot be written: no more writes");
    assert_eq!(agent.served(), [""; 0]);
    agent.tables.lock().unwrap().fail_after = None;
    assert_eq!(control.answer().await, Ok(version(1)));
    assert_eq!(agent.served(), WEB);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_ports_follow_the_nodes_addresses() {
    // S76
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    agent.node.send_modify(|node| node.addresses = vec!["192.168.0.7".parse().unwrap()]);
    agent.serves(&["10.96.0.1:80 -> 10.0.0.1:8080", "192.168.0.7:30080 -> 10.0.0.1:8080"]).await;
    // The control plane is told on a new stream.
    assert_eq!(control.hello().await.node.unwrap().addresses, ["192.168.0.7"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_reported_at_once_and_after_each_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    assert_eq!(control.report().await, [""; 0]);
    let pod = PodStatus { namespace: "default".into(), name: "web-1".into(), ..Default::default() };
    agent.pods.send_replace(vec![pod]);
    assert_eq!(control.report().await, ["web-1"]);
    control.cut();
    control.hello().await;
    assert_eq!(control.report().await, ["web-1"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_versions_is_few_syncs_and_ends_at_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    for number in 2..=100 {
        control.send(delta(number, vec![slice("web", &format!("10.0.1.{number}"))])).await;
    }
    while control.answer().await != Ok(version(100)) {}
    agent.serves(&["10.96.0.1:80 -> 10.0.1.100:8080", "192.168.0.1:30080 -> 10.0.1.100:8080"]).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_among_five_thousand_services_looks_at_its_own_service_alone() {
    // S101
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    let services = (0..5000_u32).flat_map(|number| {
        let name = format!("s{number}");
        let [_, _, high, low] = number.to_be_bytes();
        let mut service = service(&name, &format!("10.96.{high}.{low}"));
        if let Some(resource::Body::Service(service)) = &mut service.body {
            service.r#type = message::service::Type::ClusterIp.into();
        }
        [service, slice(&name, &format!("10.0.{high}.{low}"))]
    });
    control.send(snapshot(1, services.collect())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    assert_eq!(counts::done(&agent), [5000.0, 5000.0, 20_000.0]);
    // Services resolved, frontends planned, writes: a backend, slots, the frontend; the old backend is gone.
    control.send(delta(2, vec![slice("s1234", "10.1.0.1")])).await;
    assert_eq!(control.answer().await, Ok(version(2)));
    assert_eq!(counts::done(&agent), [5001.0, 5001.0, 20_004.0]);
    // What is the same as before, and what nobody here serves, is nothing to do.
    control.send(delta(3, vec![slice("s1234", "10.1.0.1")])).await;
    assert_eq!(control.answer().await, Ok(version(3)));
    assert_eq!(counts::done(&agent), [5001.0, 5001.0, 20_004.0]);
    agent.stop().await;
}
