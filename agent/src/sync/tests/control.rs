//! A control plane that says what the test says.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fairway_proto::control::control_server::{Control, ControlServer};
use fairway_proto::control::{Hello, SubscribeRequest, SubscribeResponse};
use futures::{Stream, StreamExt};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;

type Answer = Result<SubscribeResponse, Status>;

/// The open stream: where responses go, and what came.
struct Open {
    responses: mpsc::Sender<Answer>,
    requests: Streaming<SubscribeRequest>,
}

struct Service {
    opened: mpsc::Sender<Open>,
}

#[tonic::async_trait]
impl Control for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (responses, outgoing) = mpsc::channel(256);
        let _ = self.opened.send(Open { responses, requests: request.into_inner() }).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

/// The control planes at these sockets.
pub(super) fn remote(paths: impl IntoIterator<Item = PathBuf>) -> Source {
    let addresses = paths.into_iter().map(crate::config::ControlAddress::Unix).collect();
    Source::Remote { addresses, tls: None }
}

pub(super) struct FakeControl {
    path: PathBuf,
    opened: mpsc::Receiver<Open>,
    open: Option<Open>,
    /// Requests that were read while another kind was waited for.
    passed: Vec<Body>,
    server: Arc<tokio::task::JoinHandle<()>>,
}

impl Drop for FakeControl {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeControl {
    pub(super) async fn start(dir: &std::path::Path) -> Self {
        Self::at(dir.join("control.sock")).await
    }

    pub(super) async fn at(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, opened) = mpsc::channel(4);
        let server = tonic::transport::Server::builder()
            .add_service(ControlServer::new(Service { opened: sender }))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = Arc::new(tokio::spawn(async move { server.await.unwrap() }));
        Self { path, opened, open: None, passed: vec![], server }
    }

    pub(super) fn source(&self) -> Source {
        remote([self.path.clone()])
    }

    async fn next<T>(&mut self, what: &str, wanted: impl Fn(&Body) -> Option<T>) -> T {
        for index in 0..self.passed.len() {
            if let Some(found) = wanted(&self.passed[index]) {
                self.passed.remove(index);
                return found;
            }
        }
        loop {
            let requests = &mut self.open.as_mut().expect("a stream").requests;
            let next = tokio::time::timeout(Duration::from_secs(10), requests.next());
            let request = next.await.unwrap_or_else(|_| panic!("no {what}")).unwrap().unwrap();
            let body = request.body.unwrap();
            match wanted(&body) {
                Some(found) => return found,
                None => self.passed.push(body),
            }
        }
    }

    /// Waits for a stream and its Hello.
    pub(super) async fn hello(&mut self) -> Hello {
        let opened = tokio::time::timeout(Duration::from_secs(10), self.opened.recv());
        self.open = opened.await.expect("a new stream");
        self.passed.clear();
        self.next("Hello", |body| match body {
            Body::Hello(hello) => Some(hello.clone()),
            _ => None,
        })
        .await
    }

    /// The next answer to a version: applied, or rejected with a reason.
    pub(super) async fn answer(&mut self) -> Result<Version, (Version, String)> {
        self.next("answer", |body| match body {
            Body::Applied(applied) => Some(Ok(applied.version.unwrap())),
            Body::Rejected(rejected) => Some(Err((rejected.version.unwrap(), rejected.reason.clone()))),
            _ => None,
        })
        .await
    }

    /// The names of the pods in the next report.
    pub(super) async fn report(&mut self) -> Vec<String> {
        self.next("report", |body| match body {
            Body::Report(report) => Some(report.pods.iter().map(|pod| pod.name.clone()).collect()),
            _ => None,
        })
        .await
    }

    pub(super) async fn send(&mut self, response: SubscribeResponse) {
        self.open.as_ref().expect("a stream").responses.send(Ok(response)).await.unwrap();
    }

    /// Ends the stream.
    pub(super) fn cut(&mut self) {
        self.open = None;
    }
}
