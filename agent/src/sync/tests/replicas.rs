//! Several control planes: the agent goes from one to another, and what is in force stays in force.

use std::path::PathBuf;

use fairway_control::{Listen, Server};

use super::super::turns::Turns;
use super::control::remote;
use super::*;

/// Two sockets, in the order in which an agent tries them.
fn sockets(dir: &Path) -> (Source, [PathBuf; 2]) {
    let paths = ["a.sock", "b.sock"].map(|name| dir.join(name));
    let source = remote(paths.clone());
    let [a, b] = paths;
    let ordered = if Turns::new(2, "a").place() == 0 { [a, b] } else { [b, a] };
    (source, ordered)
}

fn writes(agent: &Agent) -> usize {
    agent.tables.lock().unwrap().writes
}

/// The address in use, and the others.
fn connected(agent: &Agent) -> Option<(String, Vec<String>)> {
    match &agent.state.borrow().control_plane {
        ControlPlane::Connected { address, others, .. } => Some((address.clone(), others.clone())),
        _ => None,
    }
}

fn name(path: &Path) -> String {
    format!("unix://{}", path.display())
}

// S104
#[tokio::test(flavor = "multi_thread")]
async fn the_next_control_plane_is_told_what_is_served_and_sends_what_changed_since() {
    let dir = tempfile::tempdir().unwrap();
    let (source, [first, second]) = sockets(dir.path());
    let mut one = FakeControl::at(first.clone()).await;
    let mut other = FakeControl::at(second.clone()).await;
    let agent = Agent::start(dir.path(), Some(source), empty());
    one.hello().await;
    let named = Version { digest: 5, ..version(1) };
    one.send(SubscribeResponse { version: Some(named), ..snapshot(1, web()) }).await;
    assert_eq!(one.answer().await, Ok(named));
    let before = writes(&agent);
    drop(one);
    assert_eq!(other.hello().await.applied, Some(named));
    let there = Version { epoch: 8, number: 33, digest: 5 };
    other.send(SubscribeResponse { version: Some(there), ..delta(33, vec![]) }).await;
    assert_eq!(other.answer().await, Ok(there));
    assert_eq!(connected(&agent), Some((name(&second), vec![name(&first)])));
    assert_eq!((writes(&agent), agent.served()), (before, WEB.iter().map(ToString::to_string).collect()));
    other.send(delta(34, vec![slice("web", "10.0.0.9")])).await;
    assert_eq!(other.answer().await, Ok(version(34)));
    agent.serves(&["10.96.0.1:80 -> 10.0.0.9:8080", "192.168.0.1:30080 -> 10.0.0.9:8080"]).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_last_from_one_control_plane_is_what_the_next_one_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (source, [first, second]) = sockets(dir.path());
    let mut one = FakeControl::at(first).await;
    let mut other = FakeControl::at(second).await;
    let agent = Agent::start(dir.path(), Some(source), empty());
    one.hello().await;
    for number in 1..=20 {
        one.send(snapshot(number, web())).await;
    }
    one.send(snapshot(21, vec![service("web", "10.96.0.1"), slice("web", "10.0.0.2")])).await;
    one.cut();
    assert_eq!(other.hello().await.applied, Some(version(21)), "although nothing was waited for");
    other.send(delta(22, vec![])).await;
    assert_eq!(other.answer().await, Ok(version(22)));
    agent.serves(&["10.96.0.1:80 -> 10.0.0.2:8080", "192.168.0.1:30080 -> 10.0.0.2:8080"]).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_says_nothing_is_left_for_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (source, [first, second]) = sockets(dir.path());
    // Its kernel takes connections, and that is all.
    let _silent = tokio::net::UnixListener::bind(&first).unwrap();
    let mut other = FakeControl::at(second).await;
    let agent = Agent::start(dir.path(), Some(source), empty());
    other.hello().await;
    other.send(snapshot(1, web())).await;
    assert_eq!(other.answer().await, Ok(version(1)));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_all_are_away_each_is_named_with_its_reason_and_the_first_that_is_back_serves() {
    let dir = tempfile::tempdir().unwrap();
    let (source, [first, second]) = sockets(dir.path());
    let agent = Agent::start(dir.path(), Some(source), empty());
    for path in [&first, &second] {
        eventually("its reason", || match &agent.state.borrow().control_plane {
            ControlPlane::Disconnected { address, reason, .. } => {
                assert!(address.contains(&name(&first)) && address.contains(&name(&second)));
                reason.starts_with(&format!("{}: no connection", name(path))).then_some(())
            }
            _ => None,
        })
        .await;
    }
    let mut other = FakeControl::at(second).await;
    other.hello().await;
    agent.stop().await;
}

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
"#;

async fn serve(manifests: &Path, socket: &Path) -> Server {
    let listen = vec![Listen::Unix(socket.to_owned())];
    let options = fairway_control::Options { listen, ..fairway_control::Options::new(manifests) };
    Server::start(options).await.unwrap()
}

/// Waits until the agent serves a state of another control plane than `before`, the one at this socket.
async fn served_by(agent: &Agent, socket: &Path, before: Option<Version>) -> Version {
    eventually("a state of the next control plane", || {
        let state = agent.state.borrow();
        let applied = state.applied.filter(|now| before.is_none_or(|before| before.epoch != now.epoch));
        let there = matches!(&state.control_plane, ControlPlane::Connected { address, .. } if *address == name(socket));
        applied.filter(|_| there)
    })
    .await
}

// S104
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_the_control_plane_causes_no_write() {
    let dir = tempfile::tempdir().unwrap();
    let manifests = dir.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    std::fs::write(manifests.join("web.yaml"), MANIFESTS).unwrap();
    let (source, [first, second]) = sockets(dir.path());
    let mut one = serve(&manifests, &first).await;
    let mut other = serve(&manifests, &second).await;
    let agent = Agent::start(dir.path(), Some(source), empty());
    agent.serves(WEB).await;
    let mut version = served_by(&agent, &first, None).await;
    let before = writes(&agent);
    for _ in 0..2 {
        one.stop().await.unwrap();
        version = served_by(&agent, &second, Some(version)).await;
        one = serve(&manifests, &first).await;
        other.stop().await.unwrap();
        version = served_by(&agent, &first, Some(version)).await;
        other = serve(&manifests, &second).await;
    }
    assert_eq!((writes(&agent), agent.served()), (before, WEB.iter().map(ToString::to_string).collect()));
    agent.stop().await;
    one.stop().await.unwrap();
    other.stop().await.unwrap();
}
