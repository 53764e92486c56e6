//! A control plane of another minor version.

use fairway_proto::control::{ResourceName, ServicePort, resource_name::Kind};
use prost::Message;

use super::super::received::{Complete, Received};
use super::*;

/// Fields that a message of today does not have.
#[derive(Clone, PartialEq, Message)]
struct Newer {
    #[prost(string, tag = "200")]
    text: String,
    #[prost(fixed64, tag = "201")]
    number: u64,
    #[prost(message, repeated, tag = "202")]
    more: Vec<Newer>,
}

/// What a newer sender of this message might say.
fn newer(message: &impl Message) -> Vec<u8> {
    let inner = Newer { text: "x".into(), number: 7, more: vec![] };
    let outer = Newer { more: vec![inner.clone(), inner], text: "y".into(), number: 8 };
    [message.encode_to_vec(), outer.encode_to_vec()].concat()
}

#[test]
fn fields_that_are_not_known_change_nothing() {
    let response = SubscribeResponse::decode(&newer(&snapshot(1, web()))[..]).unwrap();
    assert_eq!(response, snapshot(1, web()));
    for resource in web() {
        assert_eq!(Resource::decode(&newer(&resource)[..]).unwrap(), resource);
    }
    // A resource of a kind that is not known has no body any more.
    assert_eq!(Resource::decode(&newer(&Resource::default())[..]).unwrap().body, None);
    let hello = message::Hello { node: None, applied: Some(version(1)) };
    assert_eq!(message::Hello::decode(&newer(&hello)[..]).unwrap(), hello);
}

/// A Service of a type, and with a port of a protocol, that came later.
fn newer_service() -> Resource {
    let mut service = service("newer", "10.96.0.2");
    if let Some(resource::Body::Service(service)) = &mut service.body {
        service.r#type = 77;
        service.external_traffic_policy = 77;
        service.ports[0].node_port = 30081;
        let port = ServicePort { name: "later".into(), protocol: 253, port: 80, node_port: 30082 };
        service.ports.push(port);
    }
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_left_out_and_the_rest_of_the_version_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    control.hello().await;
    let unknown = Resource { body: None };
    let mut all = web();
    all.extend([unknown.clone(), newer_service(), slice("newer", "10.0.0.7"), unknown.clone()]);
    control.send(snapshot(1, all)).await;
    assert_eq!(control.answer().await, Ok(version(1)));
    // A cluster IP is what any Service has.
    agent.serves(&[WEB[0], "10.96.0.2:80 -> 10.0.0.7:8080", WEB[1]]).await;
    let name = |kind: i32| ResourceName { kind, namespace: "default".into(), name: "web".into() };
    let removed = vec![name(99), name(Kind::Unspecified.into())];
    control.send(SubscribeResponse { removed, ..delta(2, vec![unknown]) }).await;
    assert_eq!(control.answer().await, Ok(version(2)));
    agent.serves(&[WEB[0], "10.96.0.2:80 -> 10.0.0.7:8080", WEB[1]]).await;
    assert!(agent.state.borrow().errors.is_empty());
    agent.stop().await;
}

#[test]
fn what_this_version_must_be_told_is_still_asked_for() {
    let mut broken = newer_service();
    if let Some(resource::Body::Service(service)) = &mut broken.body {
        service.r#type = 0;
    }
    match Received::default().take(snapshot(1, vec![broken])) {
        Some(Complete::Rejected { reason, .. }) => {
            assert!(
                reason.starts_with("Service `default/newer`: type: `0` is not a Service type"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
}
