//! Who may do what over mutual TLS, and how much of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod limits;
mod world;

use std::fs;

use fairway_proto::control::subscribe_request::Body;
use fairway_proto::control::{PodStatus, Report};
use tonic::Code;

use world::{Ca, PATIENCE, Stream, World};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.1, selector: \
                       {app: web}, ports: [{port: 80}]}\n";
const POD: &str =
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: web-1, labels: {app: web}}\nspec: {nodeName: n1}\n";

async fn eventually(what: &str, mut wanted: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !wanted().await {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_node_is_served_as_itself_and_as_no_other() {
    let ca = Ca::new();
    let world = World::start(&ca.server(), &ca.pem).await;
    let own = ca.node("n1");
    world.subscribe(&ca, &own, "n1").await.unwrap();
    let channel = world.connect(&ca, &own).await.unwrap();
    let refused = Stream::open(channel, "n2").await.err().unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            Code::PermissionDenied,
            "the certificate is of node `n1`, and the agent says that it is node `n2`: give it a certificate with the \
             common name `system:node:n2`, or the node-name `n1`"
        )
    );
    let nodes: Vec<_> = world.server.subscribers().into_iter().map(|subscriber| subscriber.node).collect();
    assert_eq!(nodes, ["n1"]);
}

#[tokio::test]
async fn a_certificate_that_names_no_node_opens_no_stream() {
    let ca = Ca::new();
    let world = World::start(&ca.server(), &ca.pem).await;
    let channel = world.connect(&ca, &ca.client("n1")).await.unwrap();
    let refused = Stream::open(channel, "n1").await.err().unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            Code::PermissionDenied,
            "the certificate's subject is `CN=n1`, which is no node: an agent needs one with the common name \
             `system:node:NAME`, which `fairway-control certs --out DIR --node NAME` makes"
        )
    );
    assert!(world.server.subscribers().is_empty());
}

#[tokio::test]
async fn without_certificates_every_name_is_served() {
    let ca = Ca::new();
    let world = World::start(&ca.server(), &ca.pem).await;
    for node in ["n1", "n2"] {
        Stream::open(world.server.channel(), node).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_node_reports_of_another_nodes_pod_does_not_count() {
    let ca = Ca::new();
    let world = World::start(&ca.server(), &ca.pem).await;
    fs::write(world.manifest("web.yaml"), format!("{SERVICE}{POD}")).unwrap();
    let pod = PodStatus {
        namespace: "default".into(),
        name: "web-1".into(),
        addresses: vec!["10.0.2.66".into()],
        ready: true,
        terminating: false,
    };
    let thief = world.subscribe(&ca, &ca.node("n2"), "n2").await.unwrap();
    thief.send(Body::Report(Report { pods: vec![pod.clone()] }));
    let told = "is reported by the agent of node `n2`, but bound to node `n1`";
    eventually("the report is told", async || {
        world.server.problems().iter().any(|problem| problem.to_string().contains(told))
    })
    .await;
    // The pod's own node says where it is.
    let mut owner = world.subscribe(&ca, &ca.node("n1"), "n1").await.unwrap();
    owner.send(Body::Report(Report { pods: vec![PodStatus { addresses: vec!["10.0.1.5".into()], ..pod }] }));
    loop {
        let response = owner.next().await.unwrap();
        let text = format!("{response:?}");
        assert!(!text.contains("10.0.2.66"), "{text}");
        if text.contains("10.0.1.5") {
            break;
        }
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_its_agent_told_so() {
    let ca = Ca::new();
    let world = World::start(&ca.server(), &ca.pem).await;
    let foreign = Ca::new();
    for (own, alert) in
        [(ca.expired("n1"), "alert: CertificateExpired"), (foreign.node("n1"), "fatal alert: ")]
    {
        // Every attempt is refused. The alert comes after the client's handshake: if that is before its first request,
        // HTTP/2 keeps nothing of it.
        eventually(alert, async || {
            let told = world.subscribe(&ca, &own, "n1").await.err().expect("no stream");
            told.contains(alert)
        })
        .await;
    }
    assert!(world.server.subscribers().is_empty());
}

#[tokio::test]
async fn a_bundle_of_two_authorities_lets_in_who_either_has_signed() {
    let (old, new) = (Ca::new(), Ca::new());
    let world = World::start(&old.server(), &format!("{}{}", old.pem, new.pem)).await;
    world.subscribe(&old, &old.node("n1"), "n1").await.unwrap();
    world.subscribe(&old, &new.node("n2"), "n2").await.unwrap();
    assert!(world.subscribe(&old, &Ca::new().node("n3"), "n3").await.is_err());
}

#[tokio::test]
async fn new_certificates_count_for_new_connections_and_open_streams_live_on() {
    let (old, new) = (Ca::new(), Ca::new());
    let world = World::start(&old.server(), &old.pem).await;
    let own = old.node("n1");
    let mut open = world.subscribe(&old, &own, "n1").await.unwrap();

    world.replace(&new.server(), &new.pem);
    let renewed = new.node("n1");
    eventually("the new certificates are in force", async || {
        world.subscribe(&new, &renewed, "n1").await.is_ok()
    })
    .await;
    assert!(world.subscribe(&old, &own, "n1").await.is_err(), "the old server's certificate is gone");
    assert!(world.subscribe(&new, &own, "n1").await.is_err(), "the old CA is trusted no more");

    fs::write(world.manifest("web.yaml"), SERVICE).unwrap();
    while !format!("{:?}", open.next().await.unwrap()).contains("10.96.0.1") {}
}
