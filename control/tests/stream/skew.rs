//! Agents of another minor version.

use super::*;

/// A request of a newer agent: the bodies of today, one that came later, and a field beside them.
#[derive(Clone, PartialEq, prost::Message)]
struct Newer {
    #[prost(message, optional, tag = "1")]
    hello: Option<NewerHello>,
    #[prost(message, optional, tag = "2")]
    applied: Option<Applied>,
    #[prost(string, optional, tag = "99")]
    later: Option<String>,
}

/// Hello with a field that came later.
#[derive(Clone, PartialEq, prost::Message)]
struct NewerHello {
    #[prost(message, optional, tag = "1")]
    node: Option<control::Node>,
    #[prost(message, optional, tag = "2")]
    applied: Option<Version>,
    #[prost(string, tag = "99")]
    later: String,
}

#[tokio::test]
async fn requests_that_are_not_known_are_passed_over_and_those_after_them_count() {
    let at = tempfile::tempdir().unwrap();
    fs::write(at.path().join("a.yaml"), service("a", "10.96.0.1")).unwrap();
    let server = start(at.path()).await;
    let (requests, outgoing) = mpsc::unbounded_channel();
    let node = control::Node { name: "n1".into(), ..Default::default() };
    let hello = NewerHello { node: Some(node), applied: None, later: "x".into() };
    requests.send(Newer { hello: Some(hello), ..Default::default() }).unwrap();
    requests.send(Newer { later: Some("what nobody knows".into()), ..Default::default() }).unwrap();
    let mut grpc = tonic::client::Grpc::new(server.channel());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Newer, SubscribeResponse>::default();
    let path = "/fairway.control.v1.Control/Subscribe".parse().unwrap();
    let stream = tonic::Request::new(UnboundedReceiverStream::new(outgoing));
    let mut responses = grpc.streaming(stream, path, codec).await.unwrap().into_inner();
    let first = tokio::time::timeout(PATIENCE, responses.message()).await.expect("in time").unwrap().unwrap();
    let applied = Applied { version: first.version };
    requests.send(Newer { applied: Some(applied), later: None, hello: None }).unwrap();
    eventually("applied counts", || server.subscribers()[0].applied == first.version).await;
    assert_eq!(server.subscribers()[0].streams, 1);
    server.stop().await.unwrap();
}
