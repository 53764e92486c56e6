//! What one peer, or all of them, may ask for.

use fairway_proto::control::subscribe_request::Body;
use fairway_proto::control::{Applied, PodStatus, Rejected, Report, Version};
use tonic::Code;

use super::eventually;
use super::world::{Ca, Stream, World};

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_stream() {
    let ca = Ca::new();
    let world = World::start(&ca.server(), &ca.pem).await;
    let pod = PodStatus { namespace: "n".repeat(63), name: "p".repeat(253), ..Default::default() };
    let mut stream = world.subscribe(&ca, &ca.node("n1"), "n1").await.unwrap();
    // So many pods no node has; and more than that.
    stream.send(Body::Report(Report { pods: vec![pod.clone(); 1_000] }));
    stream.send(Body::Report(Report { pods: vec![pod; 20_000] }));
    let status = stream.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("a message is larger than 4 MiB"), "{status}");
}

#[tokio::test]
async fn of_a_nodes_streams_the_newest_four_live() {
    let ca = Ca::new();
    let world = World::start(&ca.server(), &ca.pem).await;
    let own = ca.node("n1");
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(world.subscribe(&ca, &own, "n1").await.unwrap());
    }
    let other = world.subscribe(&ca, &ca.node("n2"), "n2").await.unwrap();
    // The first is as good as dead: an agent has one.
    let ended = open.remove(0).end().await;
    assert_eq!(ended.code(), Code::ResourceExhausted);
    assert!(ended.message().starts_with("node `n1` has opened 4 newer streams"), "{ended}");
    eventually("four are left", async || {
        let subscribers = world.server.subscribers();
        subscribers.iter().any(|subscriber| subscriber.node == "n1" && subscriber.streams == 4)
    })
    .await;
    other.send(Body::Report(Report::default()));
}

#[tokio::test]
async fn more_agents_than_allowed_are_refused() {
    let ca = Ca::new();
    let world = World::with(&ca.server(), &ca.pem, |options| options.max_agents = 2).await;
    let _one = world.subscribe(&ca, &ca.node("n1"), "n1").await.unwrap();
    let _two = Stream::open(world.server.channel(), "n2").await.unwrap();
    let channel = world.connect(&ca, &ca.node("n3")).await.unwrap();
    let refused = Stream::open(channel, "n3").await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("serves 2 agents at most (--max-agents)"), "{refused}");
}

#[tokio::test]
async fn a_peer_that_talks_too_fast_is_read_slowly_and_loses_nothing() {
    let ca = Ca::new();
    let world = World::start(&ca.server(), &ca.pem).await;
    let stream = world.subscribe(&ca, &ca.node("n1"), "n1").await.unwrap();
    for number in 0..1_100 {
        stream.send(Body::Applied(Applied { version: Some(Version { number, ..Default::default() }) }));
    }
    stream.send(Body::Rejected(Rejected { version: None, reason: "the last word".into() }));
    eventually("the last message is read", async || {
        let subscribers = world.server.subscribers();
        let [subscriber] = &subscribers[..] else { return false };
        subscriber.applied.map(|version| version.number) == Some(1_099) && subscriber.rejected.is_some()
    })
    .await;
}
