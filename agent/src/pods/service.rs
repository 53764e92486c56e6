//! The gRPC server of `fairway.node.v1.Pods`.

use fairway_proto::node::{
    AddRequest, AddResponse, CheckRequest, CheckResponse, CollectRequest, CollectResponse, DeleteRequest,
    DeleteResponse, ReadyRequest, ReadyResponse, SetStatusRequest, SetStatusResponse, pods_server,
};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use super::{Error, Pods, error};

/// Metadata key of an error: CNI's error code in decimal.
pub const CNI_CODE: &str = "cni-code";

/// The gRPC server of `fairway.node.v1.Pods`. Errors carry CNI's error code in the metadata key [`CNI_CODE`].
#[must_use]
pub fn service(pods: Pods) -> pods_server::PodsServer<impl pods_server::Pods> {
    pods_server::PodsServer::new(Server { pods })
}

struct Server {
    pods: Pods,
}

#[tonic::async_trait]
impl pods_server::Pods for Server {
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddResponse>, Status> {
        Ok(Response::new(self.pods.add(request.into_inner()).await?))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        self.pods.delete(request.into_inner()).await?;
        Ok(Response::new(DeleteResponse {}))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        self.pods.check(request.into_inner()).await?;
        Ok(Response::new(CheckResponse {}))
    }

    async fn collect(&self, request: Request<CollectRequest>) -> Result<Response<CollectResponse>, Status> {
        self.pods.collect(request.into_inner()).await?;
        Ok(Response::new(CollectResponse {}))
    }

    async fn ready(&self, _: Request<ReadyRequest>) -> Result<Response<ReadyResponse>, Status> {
        self.pods.ready().await?;
        Ok(Response::new(ReadyResponse {}))
    }

    async fn set_status(
        &self,
        request: Request<SetStatusRequest>,
    ) -> Result<Response<SetStatusResponse>, Status> {
        self.pods.set_status(request.into_inner()).await?;
        Ok(Response::new(SetStatusResponse {}))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let cni_code = error.cni_code();
        let code = match cni_code {
            3 => Code::NotFound,
            4 | 7 | 8 => Code::InvalidArgument,
            105 => Code::AlreadyExists,
            106 => Code::Aborted,
            11 => Code::ResourceExhausted,
            _ => Code::Internal,
        };
        let mut metadata = MetadataMap::new();
        metadata.insert(CNI_CODE, cni_code.into());
        Self::with_metadata(code, error::chain(&error), metadata)
    }
}
