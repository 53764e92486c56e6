//! The gRPC server of `fairway.node.v1.Pods`.

use std::sync::Arc;
use std::time::Duration;

use fairway_proto::model::ObjectName;
use fairway_proto::node::{
    AddRequest, AddResponse, CheckRequest, CheckResponse, CollectRequest, CollectResponse, DeleteRequest,
    DeleteResponse, ReadyRequest, ReadyResponse, SetStatusRequest, SetStatusResponse, pods_server,
};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use super::{Error, Pods, error};
use crate::resolve::HostPort;
use crate::sync::SyncState;

/// Metadata key of an error: CNI's error code in decimal.
pub const CNI_CODE: &str = "cni-code";

/// How long an ADD waits for its ports of the node. A pod starts without them rather than not at all.
const PORTS_WITHIN: Duration = Duration::from_secs(2);

/// The gRPC server of `fairway.node.v1.Pods`. Errors carry CNI's error code in the metadata key [`CNI_CODE`]. `state`
/// tells which ports of the node are served.
#[must_use]
pub fn service(
    pods: Pods,
    state: watch::Receiver<Arc<SyncState>>,
) -> pods_server::PodsServer<impl pods_server::Pods> {
    pods_server::PodsServer::new(Server { pods, state })
}

struct Server {
    pods: Pods,
    state: watch::Receiver<Arc<SyncState>>,
}

impl Server {
    /// Returns when the ports that lead to a pod are served, or have not been for too long.
    async fn wait_for_ports(&self, container_id: &str, interface: &str) {
        let Some((pod, ports)) = self.pods.host_ports_of(container_id, interface) else { return };
        let served = served(self.state.clone(), &pod, &ports);
        if tokio::time::timeout(PORTS_WITHIN, served).await.is_err() {
            let seconds = PORTS_WITHIN.as_secs();
            tracing::warn!("the hostPorts of pod `{pod}` are not served yet, {seconds} s after it was added");
        }
    }
}

/// Returns when these ports of a pod are served, or nobody will say any more.
async fn served(mut state: watch::Receiver<Arc<SyncState>>, pod: &ObjectName, ports: &[HostPort]) {
    let are = |state: &Arc<SyncState>| state.host_ports.get(pod).is_some_and(|served| **served == *ports);
    let _or_stopping = state.wait_for(are).await;
}

#[tonic::async_trait]
impl pods_server::Pods for Server {
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddResponse>, Status> {
        let request = request.into_inner();
        let (container_id, interface) = (request.container_id.clone(), request.interface.clone());
        let response = self.pods.add(request).await?;
        // Not in its turn: a deletion need not wait for it.
        self.wait_for_ports(&container_id, &interface).await;
        Ok(Response::new(response))
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

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    // S126
    #[tokio::test]
    async fn an_add_with_host_ports_waits_until_the_tables_serve_them() {
        let ports = |address: &str| -> Arc<[HostPort]> {
            let pod_addresses = [address.parse().unwrap()].into();
            [HostPort { address: None, port: 8080, protocol: 6, pod_port: 80, pod_addresses }].into()
        };
        let pod = ObjectName::new("default", "web");
        let (sender, receiver) = watch::channel(Arc::<SyncState>::default());
        let wanted = ports("10.0.0.7");
        let mut waits = std::pin::pin!(served(receiver.clone(), &pod, &wanted));
        assert!(poll!(&mut waits).is_pending());
        let serve = |address: &str| {
            let host_ports = [(pod.clone(), ports(address))].into_iter().collect();
            sender.send_replace(Arc::new(SyncState { host_ports, ..SyncState::default() }));
        };
        serve("10.0.0.6");
        assert!(poll!(&mut waits).is_pending(), "those of the pod that had the name before");
        serve("10.0.0.7");
        assert!(poll!(&mut waits).is_ready());
        drop(sender);
        served(receiver, &ObjectName::new("default", "other"), &wanted).await;
    }
}
