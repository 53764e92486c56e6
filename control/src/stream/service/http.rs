//! The service as tonic's router wants it: generated code cannot be given another codec for one side.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use fairway_proto::control::SubscribeRequest;
use fairway_proto::control::control_server::SERVICE_NAME;
use futures::stream::BoxStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::subscription::{LARGEST, subscribe};
use crate::stream::codec::FrameCodec;
use crate::stream::cursor::Frame;
use crate::tls::Peer;

/// Serves the control stream.
#[derive(Clone, Debug)]
pub(crate) struct ControlService(pub(crate) Arc<Shared>);

impl NamedService for ControlService {
    const NAME: &'static str = SERVICE_NAME;
}

impl StreamingService<SubscribeRequest> for ControlService {
    type Response = Frame;
    type ResponseStream = BoxStream<'static, Result<Frame, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<SubscribeRequest>>) -> Self::Future {
        // Only connections that have shown a certificate have one.
        let peer = request.extensions().get::<Peer>().cloned();
        let stream = subscribe(Arc::clone(&self.0), peer, request.into_inner());
        Box::pin(async { Ok(Response::new(stream)) })
    }
}

impl Service<http::Request<Body>> for ControlService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != "/fairway.control.v1.Control/Subscribe" {
                return Ok(Status::unimplemented("Control has one method, Subscribe").into_http());
            }
            let mut grpc = Grpc::new(FrameCodec).max_decoding_message_size(LARGEST);
            Ok(grpc.streaming(service, request).await)
        })
    }
}
