//! Ports of the node that lead to its pods come and go by themselves.

use fairway_proto::model::ObjectName;

use super::*;
use crate::resolve::HostPort;

fn pod(name: &str, address: &str) -> (ObjectName, Arc<[HostPort]>) {
    let pod_addresses = [address.parse().unwrap()].into();
    let port = HostPort { address: None, port: 8080, protocol: 6, pod_port: 80, pod_addresses };
    (ObjectName::new("default", name), [port].into())
}

fn set(agent: &Agent, pods: Vec<(ObjectName, Arc<[HostPort]>)>) {
    agent.host_ports.send_replace(pods.into_iter().collect());
}

// S80
#[tokio::test(flavor = "multi_thread")]
async fn a_pods_ports_are_served_without_a_word_of_the_control_plane() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    set(&agent, vec![pod("web", "10.0.0.7")]);
    agent.serves(&[WEB[0], "192.168.0.1:8080 -> 10.0.0.7:80", WEB[1]]).await;
    set(&agent, vec![pod("web", "10.0.0.8")]);
    agent.serves(&[WEB[0], "192.168.0.1:8080 -> 10.0.0.8:80", WEB[1]]).await;
    control.cut();
    set(&agent, vec![]);
    agent.serves(WEB).await;
    agent.stop().await;
}

// S80
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_had_a_state_serves_its_pods_ports() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), None, empty());
    set(&agent, vec![pod("web", "10.0.0.7")]);
    agent.serves(&["192.168.0.1:8080 -> 10.0.0.7:80"]).await;
    let told = || (agent.state.borrow().host_ports == *agent.host_ports.borrow()).then_some(());
    eventually("the state tells which ports are served", told).await;
    let state = agent.state.borrow().clone();
    assert_eq!((state.origin, state.applied), (Origin::Kernel, None));
    set(&agent, vec![]);
    agent.serves(&[]).await;
    agent.stop().await;
}
