//! The real control plane on a directory of manifests, and real clients.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod replicas;
mod security;
mod skew;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use fairway_control::{Listen, Options, Server};
use fairway_proto::control::control_client::ControlClient;
use fairway_proto::control::subscribe_request::Body;
use fairway_proto::control::{
    self, Applied, Hello, PodStatus, Rejected, Report, SubscribeRequest, SubscribeResponse, Version,
};
use fairway_proto::model::{Cluster, ObjectName, Resource, ResourceKey};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// What is waited for comes much sooner; a machine under load may be slow.
const PATIENCE: Duration = Duration::from_secs(20);

type Requests = mpsc::UnboundedSender<SubscribeRequest>;

/// A small agent.
struct Agent {
    requests: Requests,
    responses: Streaming<SubscribeResponse>,
    cluster: Cluster,
    applied: Option<Version>,
    snapshots: usize,
}

fn request(body: Body) -> SubscribeRequest {
    SubscribeRequest { body: Some(body) }
}

fn hello(node: &str, applied: Option<Version>) -> SubscribeRequest {
    let node = control::Node { name: node.into(), addresses: vec!["192.0.2.1".into()], ..Default::default() };
    request(Body::Hello(Hello { node: Some(node), applied }))
}

async fn subscribe(
    channel: Channel,
    first: SubscribeRequest,
) -> Result<(Requests, Streaming<SubscribeResponse>), Status> {
    let (requests, stream) = mpsc::unbounded_channel();
    requests.send(first).unwrap();
    let response = ControlClient::new(channel).subscribe(UnboundedReceiverStream::new(stream)).await?;
    Ok((requests, response.into_inner()))
}

impl Agent {
    async fn connect(channel: Channel, node: &str, applied: Option<Version>) -> Self {
        let (requests, responses) = subscribe(channel, hello(node, applied)).await.unwrap();
        Self { requests, responses, cluster: Cluster::default(), applied, snapshots: 0 }
    }

    /// Reads one version.
    async fn read(&mut self) {
        loop {
            let response = tokio::time::timeout(PATIENCE, self.responses.message()).await;
            let response = response.expect("a response in time").unwrap().expect("an open stream");
            if response.snapshot {
                self.snapshots += 1;
                self.cluster = Cluster::default();
            }
            for resource in &response.changed {
                self.cluster.insert(Resource::try_from(resource).unwrap());
            }
            for name in &response.removed {
                self.cluster.remove(&ResourceKey::try_from(name).unwrap());
            }
            if response.complete {
                self.applied = response.version;
                self.send(Body::Applied(Applied { version: response.version }));
                return;
            }
        }
    }

    /// Reads until the cluster is as wanted.
    async fn until(&mut self, wanted: impl Fn(&Cluster) -> bool) {
        while !wanted(&self.cluster) {
            self.read().await;
        }
    }

    fn send(&self, body: Body) {
        self.requests.send(request(body)).unwrap();
    }
}

fn has(name: &str) -> impl Fn(&Cluster) -> bool {
    let name = ObjectName::new("default", name);
    move |cluster| cluster.services.contains_key(&name)
}

fn has_not(name: &str) -> impl Fn(&Cluster) -> bool {
    let has = has(name);
    move |cluster| !has(cluster)
}

fn service(name: &str, ip: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}, selector: \
         {{app: {name}}}, ports: [{{port: 80}}]}}\n"
    )
}

fn pod(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}-1, labels: {{app: {name}}}}}\n")
}

async fn eventually(what: &str, mut wanted: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !wanted() {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn start(manifests: &Path) -> Server {
    Server::start(Options::new(manifests)).await.unwrap()
}

#[tokio::test]
async fn edits_of_files_arrive_as_deltas_over_a_unix_socket() {
    let at = tempfile::tempdir().unwrap();
    let manifests = at.path().join("manifests");
    let socket = at.path().join("run/control.sock");
    let options = Options { listen: vec![Listen::Unix(socket.clone())], ..Options::new(&manifests) };
    let server = Server::start(options).await.unwrap();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    let channel =
        Endpoint::try_from(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap();
    let mut agent = Agent::connect(channel, "n1", None).await;
    // Its own node, while the directory does not exist yet.
    agent.until(|cluster| cluster.nodes.contains_key("n1")).await;
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("a.yaml"), service("a", "10.96.0.1")).unwrap();
    agent.until(has("a")).await;
    // As editors do it: another file takes the name.
    fs::write(manifests.join(".a.tmp"), service("a2", "10.96.0.2")).unwrap();
    fs::rename(manifests.join(".a.tmp"), manifests.join("a.yaml")).unwrap();
    agent.until(has("a2")).await;
    assert!(has_not("a")(&agent.cluster));
    fs::write(manifests.join("b.yaml"), service("b", "10.96.0.3")).unwrap();
    agent.until(has("b")).await;
    // A broken file changes nothing but the list of problems.
    fs::write(manifests.join("b.yaml"), "kind: [").unwrap();
    eventually("the problem is listed", || server.problems().len() == 1).await;
    fs::remove_file(manifests.join("a.yaml")).unwrap();
    agent.until(has_not("a2")).await;
    assert!(has("b")(&agent.cluster));
    fs::remove_file(manifests.join("b.yaml")).unwrap();
    agent.until(has_not("b")).await;
    assert_eq!(agent.snapshots, 1);
    server.stop().await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn reports_of_an_agent_become_endpoints_for_all_and_stay_when_it_goes() {
    let at = tempfile::tempdir().unwrap();
    fs::write(at.path().join("web.yaml"), service("web", "10.96.0.1") + &pod("web")).unwrap();
    let server = start(at.path()).await;
    let mut watching = Agent::connect(server.channel(), "n1", None).await;
    let reporting = Agent::connect(server.channel(), "n2", None).await;
    reporting.send(Body::Report(Report {
        pods: vec![PodStatus {
            namespace: "default".into(),
            name: "web-1".into(),
            addresses: vec!["10.0.2.5".into()],
            ready: true,
            terminating: false,
        }],
    }));
    watching.until(|cluster| !cluster.slices.is_empty()).await;
    let slice = watching.cluster.slices.values().next().unwrap();
    assert_eq!(slice.endpoints[0].node.as_deref(), Some("n2"));
    drop(reporting);
    eventually("n2 is gone", || {
        server.subscribers().iter().any(|subscriber| subscriber.node == "n2" && subscriber.streams == 0)
    })
    .await;
    let mut later = Agent::connect(server.channel(), "n3", None).await;
    later.until(|cluster| cluster.nodes.contains_key("n3")).await;
    assert_eq!(later.cluster.slices, watching.cluster.slices);
    assert!(later.cluster.nodes.contains_key("n2"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_known_version_gets_a_delta_and_rejections_are_recorded() {
    let at = tempfile::tempdir().unwrap();
    fs::write(at.path().join("a.yaml"), service("a", "10.96.0.1")).unwrap();
    let server = start(at.path()).await;
    let mut agent = Agent::connect(server.channel(), "n1", None).await;
    agent.until(|cluster| cluster.nodes.contains_key("n1") && has("a")(cluster)).await;
    let applied = agent.applied;
    eventually("applied is recorded", || server.subscribers()[0].applied == applied).await;
    let rejected = Rejected { version: applied, reason: "the map `services` is full".into() };
    agent.send(Body::Rejected(rejected));
    eventually("rejected is recorded", || server.subscribers()[0].rejected.is_some()).await;
    drop(agent);
    fs::write(at.path().join("b.yaml"), service("b", "10.96.0.2")).unwrap();
    let mut again = Agent::connect(server.channel(), "n1", applied).await;
    again.until(has("b")).await;
    assert_eq!(again.snapshots, 0);
    assert!(has_not("a")(&again.cluster), "only the delta is sent");
    server.stop().await.unwrap();
}

// S104
#[tokio::test]
async fn an_agent_with_an_older_state_gets_nothing_while_a_file_was_never_good() {
    let at = tempfile::tempdir().unwrap();
    fs::write(at.path().join("a.yaml"), service("a", "10.96.0.1")).unwrap();
    fs::write(at.path().join("b.yaml"), "kind: [").unwrap();
    let server = start(at.path()).await;
    let older = Version { epoch: 1, number: 7, digest: 3 };
    let mut agent = Agent::connect(server.channel(), "n1", Some(older)).await;
    // One that has nothing to lose is served meanwhile.
    let mut fresh = Agent::connect(server.channel(), "n2", None).await;
    fresh.until(|cluster| cluster.nodes.contains_key("n1") && has("a")(cluster)).await;
    assert_eq!(server.subscribers()[0].sent, None);
    fs::write(at.path().join("b.yaml"), service("b", "10.96.0.2")).unwrap();
    agent.read().await;
    assert!(has("a")(&agent.cluster) && has("b")(&agent.cluster));
    assert_eq!(agent.snapshots, 1);
    server.stop().await.unwrap();
}

// S104
#[tokio::test]
async fn a_restart_keeps_the_endpoints_of_agents_that_are_not_back_yet() {
    let at = tempfile::tempdir().unwrap();
    let manifests = at.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("web.yaml"), service("web", "10.96.0.1") + &pod("web")).unwrap();
    let options = || Options { state: Some(at.path().join("agents.json")), ..Options::new(&manifests) };
    let server = Server::start(options()).await.unwrap();
    let mut agent = Agent::connect(server.channel(), "n1", None).await;
    agent.send(Body::Report(Report {
        pods: vec![PodStatus {
            namespace: "default".into(),
            name: "web-1".into(),
            addresses: vec!["10.0.1.5".into()],
            ready: true,
            terminating: false,
        }],
    }));
    agent.until(|cluster| !cluster.slices.is_empty()).await;
    server.stop().await.unwrap();

    let server = Server::start(options()).await.unwrap();
    let mut other = Agent::connect(server.channel(), "n2", agent.applied).await;
    other.read().await;
    assert_eq!(other.snapshots, 1);
    assert_eq!(other.cluster.slices, agent.cluster.slices);
    assert!(other.cluster.nodes.contains_key("n1"));
    server.stop().await.unwrap();
}

async fn refused(server: &Server, first: SubscribeRequest) -> Status {
    let (_requests, mut responses) = subscribe(server.channel(), first).await.unwrap();
    tokio::time::timeout(PATIENCE, responses.message()).await.expect("an answer in time").unwrap_err()
}

#[tokio::test]
async fn who_does_not_say_hello_first_gets_invalid_argument() {
    let at = tempfile::tempdir().unwrap();
    let server = start(at.path()).await;
    let nothing = SubscribeRequest { body: None };
    let early = request(Body::Applied(Applied { version: None }));
    let bad = control::Node { name: "n1".into(), addresses: vec!["here".into()], ..Default::default() };
    let bad = request(Body::Hello(Hello { node: Some(bad), applied: None }));
    for (first, message) in [
        (nothing, "the first message must be Hello"),
        (early, "the first message must be Hello"),
        (request(Body::Hello(Hello::default())), "hello: node is missing"),
        (hello("", None), "hello: Node without a name"),
        (bad, "hello: Node `n1`: addresses: `here` is not an IP address"),
    ] {
        let status = refused(&server, first).await;
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message));
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_message_get_invalid_argument() {
    let at = tempfile::tempdir().unwrap();
    let server = start(at.path()).await;
    // The same path with another message: a field of the right number and the wrong type.
    let mut grpc = tonic::client::Grpc::new(server.channel());
    grpc.ready().await.unwrap();
    let garbage = control::ResourceName { name: "x".into(), namespace: "y".into(), kind: 1 };
    let codec = tonic_prost::ProstCodec::<control::ResourceName, SubscribeResponse>::default();
    let path = "/fairway.control.v1.Control/Subscribe".parse().unwrap();
    let stream = tokio_stream::once(garbage);
    let mut responses = grpc.streaming(tonic::Request::new(stream), path, codec).await.unwrap().into_inner();
    let status = tokio::time::timeout(PATIENCE, responses.message()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    server.stop().await.unwrap();
}
