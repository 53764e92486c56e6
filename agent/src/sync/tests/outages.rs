//! The agent or its control plane starts again: what is in force stays in force, entry by entry.

use super::*;

/// A first agent has written `web()` and is gone; what it left in the kernel, and the control plane.
async fn left_behind(dir: &Path) -> (Arc<Mutex<Memory>>, FakeControl) {
    let mut control = FakeControl::start(dir).await;
    let tables = empty();
    let agent = Agent::start(dir, Some(control.source()), tables.clone());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    agent.stop().await;
    control.cut();
    (tables, control)
}

fn writes(tables: &Mutex<Memory>) -> usize {
    tables.lock().unwrap().writes
}

// S103
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_again_asks_for_what_it_missed_and_writes_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (tables, mut control) = left_behind(dir.path()).await;
    let before = writes(&tables);
    let agent = Agent::start(dir.path(), Some(control.source()), tables.clone());
    assert_eq!(control.hello().await.applied, Some(version(1)));
    assert_eq!(agent.served(), WEB);
    control.send(delta(2, vec![])).await;
    assert_eq!(control.answer().await, Ok(version(2)));
    assert_eq!((agent.served(), writes(&tables)), (WEB.iter().map(ToString::to_string).collect(), before));
    agent.stop().await;
}

// S103
#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_starts_again_with_the_same_state_causes_no_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    let before = writes(&agent.tables);
    control.cut();
    control.hello().await;
    let another = Version { epoch: 8, number: 1, digest: 0 };
    control.send(SubscribeResponse { version: Some(another), ..snapshot(1, web()) }).await;
    assert_eq!(control.answer().await, Ok(another));
    assert_eq!(writes(&agent.tables), before);
    agent.stop().await;
}

// S104
#[tokio::test(flavor = "multi_thread")]
async fn a_first_snapshot_that_is_not_complete_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (tables, mut control) = left_behind(dir.path()).await;
    std::fs::remove_file(dir.path().join("cluster.pb")).unwrap();
    let before = writes(&tables);
    let agent = Agent::start(dir.path(), Some(control.source()), tables.clone());
    assert_eq!(control.hello().await.applied, None);
    // Services without their endpoints, endpoints without their Services: each could empty a frontend.
    for half in [vec![service("web", "10.96.0.1")], vec![slice("web", "10.0.0.1")]] {
        control.send(SubscribeResponse { complete: false, ..snapshot(2, half) }).await;
    }
    control.cut();
    assert_eq!(control.hello().await.applied, None, "the halves were read, and forgotten");
    assert_eq!((agent.served(), writes(&tables)), (WEB.iter().map(ToString::to_string).collect(), before));
    control.send(snapshot(3, web())).await;
    assert_eq!(control.answer().await, Ok(version(3)));
    assert_eq!(writes(&tables), before);
    agent.stop().await;
}

// S104
#[tokio::test(flavor = "multi_thread")]
async fn losing_the_control_plane_again_and_again_causes_no_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    control.send(snapshot(1, web())).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    let before = writes(&agent.tables);
    for _ in 0..3 {
        control.cut();
        assert_eq!(control.hello().await.applied, Some(version(1)));
    }
    assert_eq!(agent.served(), WEB);
    assert_eq!(writes(&agent.tables), before);
    agent.stop().await;
}

// S103
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_disk_is_behind_the_kernel_waits_for_the_control_plane() {
    let dir = tempfile::tempdir().unwrap();
    let (tables, mut control) = left_behind(dir.path()).await;
    let old = Version { number: 0, ..version(1) };
    super::super::disk::Saver::new(dir.path()).save(old, &Arc::default()).unwrap();
    let before = writes(&tables);
    let agent = Agent::start(dir.path(), Some(control.source()), tables.clone());
    assert_eq!(control.hello().await.applied, Some(old));
    eventually("ready", || agent.state.borrow().applied.map(drop)).await;
    assert_eq!((agent.served(), writes(&tables)), (WEB.iter().map(ToString::to_string).collect(), before));
    control.send(snapshot(2, vec![])).await;
    eventually("what the control plane says counts", || agent.served().is_empty().then_some(())).await;
    agent.stop().await;
}
