//! A control plane that says what it is told, and waits for the answer.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use fairway_agent::config::ControlAddress;
use fairway_agent::sync::Source;
use fairway_proto::control::control_server::{self, ControlServer};
use fairway_proto::control::{
    Resource, SubscribeRequest, SubscribeResponse, Version, subscribe_request::Body,
};
use futures::{Stream, StreamExt};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

type Answer = Result<SubscribeResponse, Status>;
type Open = (mpsc::Sender<Answer>, Streaming<SubscribeRequest>);

struct Service(mpsc::Sender<Open>);

#[tonic::async_trait]
impl control_server::Control for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (responses, outgoing) = mpsc::channel(16);
        let _ = self.0.send((responses, request.into_inner())).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

pub(crate) struct Control {
    path: PathBuf,
    opened: mpsc::Receiver<Open>,
    open: Option<Open>,
    number: u64,
}

impl Control {
    pub(crate) async fn start(dir: &Path) -> Self {
        let path = dir.join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, opened) = mpsc::channel(1);
        let server = tonic::transport::Server::builder()
            .add_service(ControlServer::new(Service(sender)))
            .serve_with_incoming(UnixListenerStream::new(listener));
        tokio::spawn(server);
        Self { path, opened, open: None, number: 0 }
    }

    pub(crate) fn source(&self) -> Source {
        Source::Remote { addresses: vec![ControlAddress::Unix(self.path.clone())], tls: None }
    }

    /// Waits for the agent.
    pub(crate) async fn open(&mut self) {
        self.open = self.opened.recv().await;
    }

    pub(crate) async fn snapshot(&mut self, resources: Vec<Resource>) {
        self.send(resources, true).await;
    }

    pub(crate) async fn delta(&mut self, resource: Resource) {
        self.send(vec![resource], false).await;
    }

    async fn send(&mut self, changed: Vec<Resource>, snapshot: bool) {
        self.number += 1;
        let version = Some(Version { epoch: 1, number: self.number, digest: 0 });
        let response = SubscribeResponse { version, snapshot, complete: true, changed, removed: vec![] };
        let (responses, requests) = self.open.as_mut().unwrap();
        responses.send(Ok(response)).await.unwrap();
        while let Some(request) = requests.next().await {
            match request.unwrap().body.unwrap() {
                Body::Applied(applied) if applied.version == version => return,
                Body::Rejected(rejected) => panic!("{}", rejected.reason),
                _ => {}
            }
        }
    }
}
