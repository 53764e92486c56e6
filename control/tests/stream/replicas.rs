//! Several control planes over the same manifests.

use super::*;

/// A control plane whose grace lasts for ever, and a subscriber for whom it knows `n1`.
async fn second(manifests: &Path) -> Server {
    let grace = Duration::from_secs(3600);
    let server = Server::start(Options { grace, ..Options::new(manifests) }).await.unwrap();
    let mut there = Agent::connect(server.channel(), "n1", None).await;
    there.until(|cluster| cluster.nodes.contains_key("n1") && has("a")(cluster)).await;
    server
}

/// What an agent serves that was connected to another control plane.
async fn served_elsewhere(manifests: &Path) -> Agent {
    let server = start(manifests).await;
    let mut agent = Agent::connect(server.channel(), "n1", None).await;
    agent.until(|cluster| cluster.nodes.contains_key("n1") && has("a")(cluster)).await;
    server.stop().await.unwrap();
    agent
}

// S104
#[tokio::test]
async fn an_agent_from_another_control_plane_is_answered_at_once_with_what_changed_since() {
    let at = tempfile::tempdir().unwrap();
    fs::write(at.path().join("a.yaml"), service("a", "10.96.0.1")).unwrap();
    let before = served_elsewhere(at.path()).await;
    let server = second(at.path()).await;
    let mut agent = Agent::connect(server.channel(), "n1", before.applied).await;
    agent.read().await;
    let version = agent.applied.unwrap();
    assert_eq!((agent.snapshots, &agent.cluster), (0, &Cluster::default()), "nothing changed");
    assert_eq!(version.digest, before.applied.unwrap().digest);
    assert_ne!(version.epoch, before.applied.unwrap().epoch);
    fs::write(at.path().join("b.yaml"), service("b", "10.96.0.2")).unwrap();
    agent.until(has("b")).await;
    assert!(has_not("a")(&agent.cluster), "only the delta is sent");
    // Another one, that comes with the state before.
    let mut late = Agent::connect(server.channel(), "n1", before.applied).await;
    late.read().await;
    assert!(late.snapshots == 0 && has("b")(&late.cluster) && has_not("a")(&late.cluster));
    server.stop().await.unwrap();
}

// S104
#[tokio::test]
async fn an_agent_with_a_state_that_was_never_here_waits_until_others_have_reported() {
    let at = tempfile::tempdir().unwrap();
    fs::write(at.path().join("a.yaml"), service("a", "10.96.0.1")).unwrap();
    fs::write(at.path().join("b.yaml"), service("b", "10.96.0.2")).unwrap();
    let before = served_elsewhere(at.path()).await;
    fs::remove_file(at.path().join("b.yaml")).unwrap();
    let server = second(at.path()).await;
    let unnamed = before.applied.map(|version| Version { digest: 0, ..version });
    let waiting = [("n2", before.applied), ("n3", unnamed), ("n4", Some(Version::default()))];
    let mut agents = Vec::new();
    for (node, applied) in waiting {
        agents.push(Agent::connect(server.channel(), node, applied).await);
    }
    // Those that have nothing to lose are served meanwhile, and later than these came.
    let mut fresh = Agent::connect(server.channel(), "n5", None).await;
    fresh
        .until(|cluster| ["n2", "n3", "n4", "n5"].iter().all(|node| cluster.nodes.contains_key(*node)))
        .await;
    let sent = |subscriber: &fairway_control::Subscriber| subscriber.sent.is_some();
    let subscribers = server.subscribers();
    let served: Vec<_> = subscribers.iter().filter(|it| sent(it)).map(|it| it.node.as_str()).collect();
    assert_eq!(served, ["n1", "n5"]);
    drop(agents);
    server.stop().await.unwrap();
}
