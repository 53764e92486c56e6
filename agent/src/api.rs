//! The gRPC server of `fairway.node.v1.Node`: status, listings, trace.

mod conntrack;
mod directory;
mod rows;
mod services;
mod status;
mod trace;

use std::fmt::Write;
use std::sync::{Arc, PoisonError};

use fairway_datapath::Datapath;
use fairway_proto::node::node_server::{Node, NodeServer};
use fairway_proto::node::{
    CheckAddressesRequest, CheckAddressesResponse, Connection, FlushConntrackRequest, FlushConntrackResponse,
    ListAddressesRequest, ListAddressesResponse, ListAffinityRequest, ListAffinityResponse,
    ListBackendsRequest, ListBackendsResponse, ListConntrackRequest, ListDropsRequest, ListDropsResponse,
    ListEndpointsRequest, ListEndpointsResponse, ListServicesRequest, ListServicesResponse,
    ReleaseAddressRequest, ReleaseAddressResponse, StatusRequest, StatusResponse, TraceEvent, TraceRequest,
};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use crate::certificates;
use crate::node::Shared;
use directory::Directory;
use trace::Hub;

/// The server of `fairway.node.v1.Node`.
#[must_use]
pub fn service(shared: Arc<Shared>) -> NodeServer<impl Node> {
    let hub = Hub::new(shared.datapath.clone());
    NodeServer::new(Server { shared, hub })
}

struct Server {
    shared: Arc<Shared>,
    hub: Arc<Hub<std::sync::Mutex<Datapath>>>,
}

impl Server {
    /// Reads the kernel's tables on a thread that may wait.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Datapath) -> Result<T, fairway_datapath::Error> + Send + 'static,
    ) -> Result<T, Status> {
        let datapath = self.shared.datapath.clone();
        let read = move || read(&datapath.lock().unwrap_or_else(PoisonError::into_inner));
        let result = tokio::task::spawn_blocking(read).await.map_err(|error| internal(&error))?;
        result.map_err(|error| internal(&error))
    }
}

#[tonic::async_trait]
impl Node for Server {
    type ListConntrackStream = BoxStream<'static, Result<Connection, Status>>;
    type TraceStream = BoxStream<'static, Result<TraceEvent, Status>>;

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let shared = self.shared.clone();
        let read =
            move || (fairway_datapath::maps(&shared.config.bpf_root), certificates::warnings(&shared.config));
        let (maps, certificates) =
            tokio::task::spawn_blocking(read).await.map_err(|error| internal(&error))?;
        let kernel = self.read(|datapath| Ok(status::Kernel::read(datapath, maps))).await?;
        let state = self.shared.state.borrow().clone();
        let facts = status::Facts {
            state: &state,
            kernel: &kernel,
            pods: &self.shared.pods.list(),
            uptime: self.shared.started.elapsed(),
            now: std::time::SystemTime::now(),
            nat_ports: self.shared.config.nat_ports,
            repairs: &self.shared.repairs.lines(),
            tracing: self.hub.readers(),
            routing: self.shared.config.routing,
            ways: &self.shared.ways.borrow().clone(),
            certificates: &certificates,
            wires: &self.shared.wires.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        Ok(Response::new(facts.response()))
    }

    async fn list_services(
        &self,
        _: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        let state = self.shared.state.borrow().clone();
        Ok(Response::new(ListServicesResponse { frontends: services::frontends(&state) }))
    }

    async fn list_backends(
        &self,
        _: Request<ListBackendsRequest>,
    ) -> Result<Response<ListBackendsResponse>, Status> {
        let state = self.shared.state.borrow().clone();
        Ok(Response::new(ListBackendsResponse { backends: services::backends(&state) }))
    }

    async fn list_conntrack(
        &self,
        _: Request<ListConntrackRequest>,
    ) -> Result<Response<Self::ListConntrackStream>, Status> {
        let (connections, names) = conntrack::connections(&self.shared).await?;
        let rows = connections.into_iter().map(move |connection| Ok(rows::connection(&connection, &names)));
        Ok(Response::new(stream::iter(rows).boxed()))
    }

    async fn flush_conntrack(
        &self,
        request: Request<Streaming<FlushConntrackRequest>>,
    ) -> Result<Response<FlushConntrackResponse>, Status> {
        let ended = conntrack::flush(&self.shared, request.into_inner()).await?;
        Ok(Response::new(FlushConntrackResponse { ended: ended as u64 }))
    }

    async fn list_affinity(
        &self,
        _: Request<ListAffinityRequest>,
    ) -> Result<Response<ListAffinityResponse>, Status> {
        Ok(Response::new(ListAffinityResponse { affinities: conntrack::affinities(&self.shared).await? }))
    }

    async fn list_endpoints(
        &self,
        _: Request<ListEndpointsRequest>,
    ) -> Result<Response<ListEndpointsResponse>, Status> {
        let endpoints = self.shared.pods.list().iter().map(rows::endpoint).collect();
        Ok(Response::new(ListEndpointsResponse { endpoints }))
    }

    async fn list_addresses(
        &self,
        _: Request<ListAddressesRequest>,
    ) -> Result<Response<ListAddressesResponse>, Status> {
        Ok(Response::new(self.shared.pods.addresses()))
    }

    async fn check_addresses(
        &self,
        _: Request<CheckAddressesRequest>,
    ) -> Result<Response<CheckAddressesResponse>, Status> {
        Ok(Response::new(CheckAddressesResponse { differences: self.shared.pods.differences().await? }))
    }

    async fn release_address(
        &self,
        request: Request<ReleaseAddressRequest>,
    ) -> Result<Response<ReleaseAddressResponse>, Status> {
        Ok(Response::new(self.shared.pods.release(request.into_inner()).await?))
    }

    async fn list_drops(&self, _: Request<ListDropsRequest>) -> Result<Response<ListDropsResponse>, Status> {
        let read = |datapath: &Datapath| Ok((datapath.counts()?, datapath.events_lost()?));
        let (counts, events_lost) = self.read(read).await?;
        Ok(Response::new(ListDropsResponse { reasons: rows::reasons(&counts), events_lost }))
    }

    async fn trace(&self, request: Request<TraceRequest>) -> Result<Response<Self::TraceStream>, Status> {
        trace::subscribe(&self.shared, &self.hub, request.get_ref()).await.map(Response::new)
    }
}

/// An error and its causes, for the caller.
fn internal(error: &dyn std::error::Error) -> Status {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    Status::internal(text)
}
