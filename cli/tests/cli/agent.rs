//! The agent that answers, and the program that asks.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};

use fairway_proto::node::node_server::{Node, NodeServer};
use fairway_proto::node::*;
use futures::{Stream, StreamExt, stream};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use crate::data;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// An agent with canned answers on a socket of its own; it ends when dropped.
pub(crate) struct FakeAgent {
    pub(crate) socket: PathBuf,
    _runtime: Runtime,
    _directory: TempDir,
}

impl FakeAgent {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent.sock");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _context = runtime.enter();
            UnixListener::bind(&socket).unwrap()
        };
        let server = tonic::transport::Server::builder().add_service(NodeServer::new(Canned));
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Self { socket, _runtime: runtime, _directory: directory }
    }

    /// The program, asking this agent.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = fairway(words);
        command.arg("--socket").arg(&self.socket);
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, words: &str) -> Ran {
        Ran::from(self.command(words).output().unwrap())
    }

    /// What the program prints when all is well.
    pub(crate) fn prints(&self, words: &str) -> String {
        let ran = self.run(words);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "fairway {words}");
        ran.stdout
    }
}

/// The program, with an environment that is the same everywhere.
pub(crate) fn fairway(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
    command.args(words.split_whitespace()).env_clear().env("LANG", "C.UTF-8").stdin(Stdio::null());
    command
}

/// A run of the program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("not killed by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

struct Canned;

#[tonic::async_trait]
impl Node for Canned {
    type ListConntrackStream = Answers<Connection>;
    type TraceStream = Answers<TraceEvent>;

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(data::status()))
    }

    async fn list_services(
        &self,
        _: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        Ok(Response::new(ListServicesResponse { frontends: data::frontends() }))
    }

    async fn list_backends(
        &self,
        _: Request<ListBackendsRequest>,
    ) -> Result<Response<ListBackendsResponse>, Status> {
        Ok(Response::new(ListBackendsResponse { backends: data::backends() }))
    }

    async fn list_conntrack(
        &self,
        _: Request<ListConntrackRequest>,
    ) -> Result<Response<Self::ListConntrackStream>, Status> {
        Ok(Response::new(stream::iter(data::connections().into_iter().map(Ok)).boxed()))
    }

    /// Counts what it is told to end.
    async fn flush_conntrack(
        &self,
        request: Request<tonic::Streaming<FlushConntrackRequest>>,
    ) -> Result<Response<FlushConntrackResponse>, Status> {
        let mut requests = request.into_inner();
        let mut ended = 0;
        while let Some(request) = requests.message().await? {
            ended += request.connections.len() as u64;
        }
        Ok(Response::new(FlushConntrackResponse { ended }))
    }

    async fn list_affinity(
        &self,
        _: Request<ListAffinityRequest>,
    ) -> Result<Response<ListAffinityResponse>, Status> {
        Ok(Response::new(ListAffinityResponse { affinities: data::affinities() }))
    }

    async fn list_endpoints(
        &self,
        _: Request<ListEndpointsRequest>,
    ) -> Result<Response<ListEndpointsResponse>, Status> {
        Ok(Response::new(ListEndpointsResponse { endpoints: data::endpoints() }))
    }

    async fn list_addresses(
        &self,
        _: Request<ListAddressesRequest>,
    ) -> Result<Response<ListAddressesResponse>, Status> {
        Ok(Response::new(data::addresses()))
    }

    async fn check_addresses(
        &self,
        _: Request<CheckAddressesRequest>,
    ) -> Result<Response<CheckAddressesResponse>, Status> {
        Ok(Response::new(CheckAddressesResponse { differences: data::differences() }))
    }

    async fn release_address(
        &self,
        request: Request<ReleaseAddressRequest>,
    ) -> Result<Response<ReleaseAddressResponse>, Status> {
        let ReleaseAddressRequest { address, force } = request.into_inner();
        let found = data::addresses().addresses.into_iter().find(|it| it.address == address);
        let found = found.ok_or_else(|| Status::not_found(format!("nothing has address `{address}`")))?;
        if found.state == "in-use" && !force {
            return Err(Status::aborted(format!("address `{address}` is in use by pod `{}`", found.name)));
        }
        let AllocatedAddress { namespace, name, container_id, .. } = found;
        Ok(Response::new(ReleaseAddressResponse { namespace, name, container_id }))
    }

    async fn list_drops(&self, _: Request<ListDropsRequest>) -> Result<Response<ListDropsResponse>, Status> {
        Ok(Response::new(ListDropsResponse { reasons: data::reasons(), events_lost: 4 }))
    }

    /// The canned events, then silence; a filter for the port 9 gets them without end.
    async fn trace(&self, request: Request<TraceRequest>) -> Result<Response<Self::TraceStream>, Status> {
        let request = request.into_inner();
        if request.service == "default/absent" {
            return Err(Status::not_found("this node serves no Service `default/absent`"));
        }
        let events =
            data::events().into_iter().filter(move |event| !request.drops || event.class != "forward");
        if request.port == 9 {
            let events: Vec<TraceEvent> = events.collect();
            return Ok(Response::new(stream::iter(events.into_iter().cycle().map(Ok)).boxed()));
        }
        Ok(Response::new(stream::iter(events.map(Ok)).chain(stream::pending()).boxed()))
    }
}
