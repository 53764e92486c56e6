//! When a change is applied, and what is counted of it.

use std::time::Instant;

use super::super::burst::{BURST, due};
use super::super::changes::Changes;
use super::*;

// S101
#[test]
fn a_single_change_is_applied_at_once_and_a_burst_waits_for_its_end_alone() {
    let now = Instant::now();
    assert_eq!(due(now, None), now);
    assert_eq!(due(now, now.checked_sub(BURST)), now);
    assert_eq!(due(now, now.checked_sub(Duration::from_secs(3600))), now);
    assert_eq!(due(now, Some(now)), now + BURST);
    assert!(BURST <= Duration::from_millis(10), "far below the 100 ms that a change may take");
}

/// The value of a metric; none: it has no such line.
fn metric(agent: &Agent, name: &str) -> Option<f64> {
    let text = agent.metrics.text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Services resolved, frontends planned, writes to the tables so far.
pub(super) fn done(agent: &Agent) -> [f64; 3] {
    let names = ["fairway_sync_services_total", "fairway_sync_frontends_total", "fairway_table_writes_total"];
    names.map(|name| metric(agent, name).unwrap())
}

async fn becomes(agent: &Agent, name: &str, value: f64) {
    eventually(name, || (metric(agent, name) == Some(value)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_counted_and_pending_until_the_tables_hold_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    agent.tables.lock().unwrap().fail_after = Some(0);
    control.send(snapshot(1, web())).await;
    control.answer().await.unwrap_err();
    for name in ["service_changes_total", "service_changes_pending", "endpoint_changes_pending"] {
        becomes(&agent, &format!("kubeproxy_sync_proxy_rules_{name}"), 1.0).await;
    }
    agent.tables.lock().unwrap().fail_after = None;
    assert_eq!(control.answer().await, Ok(version(1)));
    becomes(&agent, "kubeproxy_sync_proxy_rules_service_changes_pending", 0.0).await;
    becomes(&agent, "kubeproxy_sync_proxy_rules_endpoint_changes_pending", 0.0).await;
    // What comes again unchanged is no change.
    control.send(delta(2, vec![service("web", "10.96.0.1"), slice("web", "10.0.0.2")])).await;
    assert_eq!(control.answer().await, Ok(version(2)));
    becomes(&agent, "kubeproxy_sync_proxy_rules_service_changes_total", 1.0).await;
    becomes(&agent, "kubeproxy_sync_proxy_rules_endpoint_changes_total", 2.0).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_sync_is_a_full_one_and_what_follows_is_partial() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    control.send(delta(2, vec![slice("web", "10.0.0.2")])).await;
    assert_eq!(control.answer().await, Ok(version(2)));
    becomes(&agent, "kubeproxy_sync_full_proxy_rules_duration_seconds_count", 1.0).await;
    becomes(&agent, "kubeproxy_sync_partial_proxy_rules_duration_seconds_count", 1.0).await;
    becomes(&agent, "kubeproxy_sync_proxy_rules_duration_seconds_count", 2.0).await;
    agent.stop().await;
}

fn changed_at(address: &str, time: SystemTime) -> Resource {
    let mut slice = slice("web", address);
    if let Some(resource::Body::EndpointSlice(slice)) = &mut slice.body {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        slice.last_change_trigger_time = u64::try_from(since.as_nanos()).unwrap();
    }
    slice
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_from_a_change_in_the_cluster_to_the_tables_is_measured_once() {
    const COUNT: &str = "kubeproxy_network_programming_duration_seconds_count";
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    // What happened before the agent started is not its delay.
    let before = SystemTime::now() - Duration::from_secs(3600);
    control.send(snapshot(1, vec![service("web", "10.96.0.1"), changed_at("10.0.0.1", before)])).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    assert_eq!(metric(&agent, COUNT), Some(0.0));
    let now = SystemTime::now();
    control.send(delta(2, vec![changed_at("10.0.0.2", now)])).await;
    assert_eq!(control.answer().await, Ok(version(2)));
    becomes(&agent, COUNT, 1.0).await;
    // Another change of the slice, by somebody who does not say when.
    control.send(delta(3, vec![changed_at("10.0.0.3", now)])).await;
    assert_eq!(control.answer().await, Ok(version(3)));
    assert_eq!(metric(&agent, COUNT), Some(1.0));
    agent.stop().await;
}

#[test]
fn changes_are_what_came_what_is_different_and_what_went() {
    let cluster = |resources: &[Resource]| {
        let mut cluster = Cluster::default();
        resources.iter().for_each(|resource| cluster.insert(resource.try_into().unwrap()));
        cluster
    };
    let before =
        cluster(&[service("same", "10.96.0.1"), service("other", "10.96.0.2"), slice("gone", "10.0.0.1")]);
    let after =
        cluster(&[service("same", "10.96.0.1"), service("other", "10.96.0.3"), service("new", "10.96.0.4")]);
    let changes = Changes::between(&before, &after, SystemTime::UNIX_EPOCH);
    let names = |names: &std::collections::BTreeSet<fairway_proto::model::ObjectName>| {
        names.iter().map(|name| name.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&changes.services), ["new", "other"]);
    assert_eq!(names(&changes.slices), ["gone-1"]);
}

fn node(object: Option<message::NodeObject>) -> Resource {
    let node = message::Node { name: "a".into(), object, ..Default::default() };
    Resource { body: Some(resource::Body::Node(node)) }
}

// S109
#[tokio::test(flavor = "multi_thread")]
async fn a_node_object_that_goes_was_deleted_until_it_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    let deleted = async |wanted: bool| {
        eventually("the node's state", || (agent.state.borrow().node_deleted == wanted).then_some(())).await;
    };
    let steps = [(None, false), (Some(message::NodeObject::default()), false), (None, true), (None, true)];
    for (number, (object, gone)) in (1..).zip(steps) {
        control.send(snapshot(number, vec![node(object)])).await;
        assert_eq!(control.answer().await, Ok(version(number)));
        eventually("applied", || (agent.state.borrow().applied == Some(version(number))).then_some(())).await;
        deleted(gone).await;
    }
    control.send(snapshot(9, vec![node(Some(message::NodeObject::default()))])).await;
    deleted(false).await;
    agent.stop().await;
}
