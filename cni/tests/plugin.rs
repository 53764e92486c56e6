//! The plugin as a runtime starts it, before an agent that the test plays.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use fairway_proto::deletions::Deletions;
use fairway_proto::node::*;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

/// Notes what it is asked; refuses everything that it has an error for.
#[derive(Clone, Default)]
struct Agent {
    asked: Arc<Mutex<Vec<String>>>,
    refusal: Option<(u32, &'static str)>,
}

impl Agent {
    fn answer<Q: std::fmt::Debug, A>(&self, request: Request<Q>, answer: A) -> Result<Response<A>, Status> {
        self.asked.lock().unwrap().push(format!("{:?}", request.into_inner()));
        let Some((code, message)) = self.refusal else { return Ok(Response::new(answer)) };
        let mut metadata = MetadataMap::new();
        metadata.insert("cni-code", code.into());
        Err(Status::with_metadata(Code::Internal, message, metadata))
    }
}

#[tonic::async_trait]
impl pods_server::Pods for Agent {
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddResponse>, Status> {
        let answer = AddResponse {
            node_interface: "fw0123".into(),
            node_mac: "02:00:00:00:00:01".into(),
            pod_mac: "02:00:00:00:00:02".into(),
            addresses: vec!["10.0.1.2/32".into()],
            gateways: vec!["169.254.1.1".into()],
            mtu: 1500,
        };
        self.answer(request, answer)
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        self.answer(request, DeleteResponse {})
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        self.answer(request, CheckResponse {})
    }

    async fn collect(&self, request: Request<CollectRequest>) -> Result<Response<CollectResponse>, Status> {
        self.answer(request, CollectResponse {})
    }

    async fn ready(&self, request: Request<ReadyRequest>) -> Result<Response<ReadyResponse>, Status> {
        self.answer(request, ReadyResponse {})
    }

    async fn set_status(
        &self,
        request: Request<SetStatusRequest>,
    ) -> Result<Response<SetStatusResponse>, Status> {
        self.answer(request, SetStatusResponse {})
    }
}

/// A directory with the agent's socket.
struct Node {
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { directory: tempfile::tempdir().unwrap(), runtime: runtime.unwrap() }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    fn deletions(&self) -> PathBuf {
        self.directory.path().join("deletions")
    }

    fn serve(&self, agent: &Agent) {
        let _inside_the_runtime = self.runtime.enter();
        let incoming = UnixListenerStream::new(UnixListener::bind(self.socket()).unwrap());
        let service = pods_server::PodsServer::new(agent.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        self.runtime.spawn(server.serve_with_incoming(incoming));
    }

    fn config(&self, version: &str) -> Value {
        json!({ "cniVersion": version, "name": "fairway", "type": "fairway-cni", "socket": self.socket(),
            "deletions": self.deletions() })
    }
}

fn start(command: &str, config: &Value) -> Child {
    let mut plugin = Command::new(Path::new(env!("CARGO_BIN_EXE_fairway-cni")));
    plugin.env_clear();
    for (name, value) in [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "0123"),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
        ("CNI_ARGS", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"),
    ] {
        plugin.env(name, value);
    }
    let mut plugin =
        plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    plugin.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
    plugin
}

fn finish(plugin: Child) -> (bool, Value, Output) {
    let output = plugin.wait_with_output().unwrap();
    let value = match output.stdout.as_slice() {
        [] => Value::Null,
        text => serde_json::from_slice(text).expect("only JSON on standard output"),
    };
    (output.status.success(), value, output)
}

fn call(command: &str, config: &Value) -> (bool, Value) {
    let (success, value, _) = finish(start(command, config));
    (success, value)
}

#[test]
fn an_add_prints_the_result_in_the_version_of_the_configuration() {
    // S110, S113, S114
    let (node, agent) = (Node::new(), Agent::default());
    node.serve(&agent);
    let (success, result, output) = finish(start("ADD", &node.config("0.4.0")));
    assert!(success && output.stderr.is_empty(), "{output:?}");
    assert_eq!(result["cniVersion"], "0.4.0");
    assert_eq!(
        result["ips"],
        json!([{ "version": "4", "address": "10.0.1.2/32", "gateway": "169.254.1.1", "interface": 1 }])
    );
    assert_eq!(result["interfaces"][1]["sandbox"], "/run/netns/x");
    let asked = agent.asked.lock().unwrap().join("\n");
    for word in ["0123", "/run/netns/x", "eth0", "default", "web"] {
        assert!(asked.contains(word), "{asked}");
    }
}

#[test]
fn an_add_waits_for_an_agent_that_is_starting() {
    let node = Node::new();
    let mut plugin = start("ADD", &node.config("1.1.0"));
    assert!(plugin.try_wait().unwrap().is_none());
    node.serve(&Agent::default());
    let (success, result, _) = finish(plugin);
    assert!(success, "{result}");
}

#[test]
fn an_error_of_the_agent_keeps_its_code_and_words() {
    // S110, S111, S120
    let node = Node::new();
    node.serve(&Agent { refusal: Some((11, "no pod address is free in `10.0.1.0/24`")), ..Agent::default() });
    let (success, error) = call("ADD", &node.config("1.0.0"));
    assert!(!success);
    assert_eq!(error["cniVersion"], "1.0.0");
    assert_eq!(error["code"], 11);
    assert_eq!(error["msg"], "no pod address is free in `10.0.1.0/24`");
    let (success, error) = call("STATUS", &node.config("1.1.0"));
    assert!(!success);
    assert_eq!(error["code"], 50);
    assert_eq!(error["details"], "no pod address is free in `10.0.1.0/24`");
}

#[test]
fn without_an_agent_the_runtime_is_told_to_try_again() {
    // S111
    let node = Node::new();
    let mut config = node.config("1.1.0");
    assert_eq!(call("STATUS", &config).1["code"], 50);
    config["cni.dev/valid-attachments"] = json!([]);
    let (success, error) = call("GC", &config);
    assert!(!success);
    assert_eq!(error["code"], 11);
    assert!(error["msg"].as_str().unwrap().contains("agent.sock"), "{error}");
}

#[test]
fn without_an_agent_a_deletion_is_left_on_disk() {
    // S117
    let node = Node::new();
    for _ in 0..2 {
        assert_eq!(call("DEL", &node.config("1.0.0")), (true, Value::Null));
    }
    let left = Deletions::new(node.deletions()).list().unwrap();
    assert_eq!(left, [Attachment { container_id: "0123".into(), interface: "eth0".into() }]);
}

#[test]
fn a_deletion_that_can_neither_be_asked_for_nor_left_is_to_be_tried_again() {
    // S117
    let node = Node::new();
    std::fs::write(node.deletions(), "a file").unwrap();
    let (success, error) = call("DEL", &node.config("1.0.0"));
    assert!(!success);
    assert_eq!(error["code"], 11);
    assert!(error["msg"].as_str().unwrap().contains("deletions"), "{error}");
}

#[test]
fn a_deletion_that_the_agent_refuses_is_not_left_on_disk() {
    let node = Node::new();
    node.serve(&Agent { refusal: Some((103, "a device stays")), ..Agent::default() });
    let (success, error) = call("DEL", &node.config("1.0.0"));
    assert!(!success);
    assert_eq!(error["code"], 103);
    assert!(!node.deletions().exists());
}

#[test]
fn commands_without_a_result_print_nothing() {
    // S110, S122
    let (node, agent) = (Node::new(), Agent::default());
    node.serve(&agent);
    let mut config = node.config("1.1.0");
    assert_eq!(call("DEL", &config), (true, Value::Null));
    assert_eq!(call("STATUS", &config), (true, Value::Null));
    config["cni.dev/valid-attachments"] = json!([{ "containerID": "0123", "ifname": "eth0" }]);
    assert_eq!(call("GC", &config), (true, Value::Null));
    config["prevResult"] = finish(start("ADD", &node.config("1.1.0"))).1;
    assert_eq!(call("CHECK", &config), (true, Value::Null));
    let asked = agent.asked.lock().unwrap();
    assert!(asked[2].starts_with("CollectRequest") && asked[2].contains("0123"), "{asked:?}");
    assert!(asked[4].starts_with("CheckRequest") && asked[4].contains("10.0.1.2/32"), "{asked:?}");
}

#[test]
fn the_versions_are_listed_and_the_asked_one_echoed() {
    // S113
    let (success, versions) = call("VERSION", &json!({ "cniVersion": "0.4.0" }));
    assert!(success);
    let supported = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    assert_eq!(versions, json!({ "cniVersion": "0.4.0", "supportedVersions": supported }));
    let (success, error) = call("ADD", &json!({ "cniVersion": "9.0.0", "name": "net" }));
    assert!(!success);
    assert_eq!((&error["code"], &error["cniVersion"]), (&json!(1), &json!("9.0.0")));
}
