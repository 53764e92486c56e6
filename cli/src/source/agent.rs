//! The agent, over its unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fairway_proto::node;
use fairway_proto::node::node_client::NodeClient;
use tonic::transport::{Channel, Endpoint as Address};
use tonic::{Response, Streaming};

use super::Drops;
use crate::error::Error;
use crate::list::{Affinity, Backend, Connection, Count, Difference, Endpoint, Frontend};
use crate::status::Status;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to turn tracing on: the kernel checks the programs that trace.
const TRACING_PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer: 65 536 frontends with their backends fit well within it.
const LARGEST: usize = 256 << 20;

/// Connections named in one message.
const BATCH: usize = 4096;

/// A connection to the agent.
pub(crate) struct Agent {
    socket: PathBuf,
    client: NodeClient<Channel>,
}

impl Agent {
    /// Connects to the agent's socket.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, Error> {
        let unreachable = |source| Error::Unreachable { socket: socket.to_owned(), source };
        let address = Address::from_shared(format!("unix://{}", socket.display())).map_err(unreachable)?;
        let channel = address.connect_timeout(PATIENCE).connect().await.map_err(unreachable)?;
        let client = NodeClient::new(channel).max_decoding_message_size(LARGEST);
        Ok(Self { socket: socket.to_owned(), client })
    }

    pub(super) async fn status(&mut self) -> Result<Status, Error> {
        let call = self.client.status(node::StatusRequest {});
        Ok(answer(&self.socket, call).await?.into())
    }

    pub(super) async fn frontends(&mut self) -> Result<Vec<Frontend>, Error> {
        let call = self.client.list_services(node::ListServicesRequest {});
        Ok(answer(&self.socket, call).await?.frontends.into_iter().map(Frontend::from).collect())
    }

    pub(super) async fn backends(&mut self) -> Result<Vec<Backend>, Error> {
        let call = self.client.list_backends(node::ListBackendsRequest {});
        Ok(answer(&self.socket, call).await?.backends.into_iter().map(Backend::from).collect())
    }

    pub(super) async fn connections(&mut self) -> Result<Vec<Connection>, Error> {
        let call = self.client.list_conntrack(node::ListConntrackRequest {});
        let mut stream = answer(&self.socket, call).await?;
        let mut connections = Vec::new();
        while let Some(connection) = stream.message().await.map_err(refused)? {
            connections.push(Connection::from(connection));
        }
        Ok(connections)
    }

    pub(super) async fn endpoints(&mut self) -> Result<Vec<Endpoint>, Error> {
        let call = self.client.list_endpoints(node::ListEndpointsRequest {});
        Ok(answer(&self.socket, call).await?.endpoints.into_iter().map(Endpoint::from).collect())
    }

    pub(super) async fn flush(&mut self, connections: &[Connection]) -> Result<usize, Error> {
        let batches = connections.chunks(BATCH).map(|batch| node::FlushConntrackRequest {
            connections: batch.iter().map(Connection::message).collect(),
        });
        let call = self.client.flush_conntrack(futures::stream::iter(batches.collect::<Vec<_>>()));
        let ended = answer(&self.socket, call).await?.ended;
        Ok(usize::try_from(ended).unwrap_or(usize::MAX))
    }

    pub(super) async fn affinities(&mut self) -> Result<Vec<Affinity>, Error> {
        let call = self.client.list_affinity(node::ListAffinityRequest {});
        Ok(answer(&self.socket, call).await?.affinities.into_iter().map(Affinity::from).collect())
    }

    /// Ranges of pods' addresses, and who has which.
    pub(crate) async fn addresses(&mut self) -> Result<node::ListAddressesResponse, Error> {
        answer(&self.socket, self.client.list_addresses(node::ListAddressesRequest {})).await
    }

    /// What does not agree about them.
    pub(crate) async fn check_addresses(&mut self) -> Result<Vec<Difference>, Error> {
        let call = self.client.check_addresses(node::CheckAddressesRequest {});
        Ok(answer(&self.socket, call).await?.differences.into_iter().map(Difference::from).collect())
    }

    /// Frees one.
    pub(crate) async fn release_address(
        &mut self,
        request: node::ReleaseAddressRequest,
    ) -> Result<node::ReleaseAddressResponse, Error> {
        let call = self.client.release_address(request);
        answer(&self.socket, call).await.map_err(|error| match error {
            Error::Agent(status) if status.code() == tonic::Code::NotFound => Error::NoSuchAddress(status),
            Error::Agent(status) if status.code() == tonic::Code::Aborted => Error::AddressInUse(status),
            other => other,
        })
    }

    pub(super) async fn drops(&mut self) -> Result<Drops, Error> {
        let call = self.client.list_drops(node::ListDropsRequest {});
        let drops = answer(&self.socket, call).await?;
        let counts = drops.reasons.into_iter().map(Count::from).collect();
        Ok(Drops { counts, events_lost: drops.events_lost })
    }

    /// Decisions as they happen. Tracing is on when this returns.
    pub(crate) async fn trace(
        &mut self,
        filter: node::TraceRequest,
    ) -> Result<Streaming<node::TraceEvent>, Error> {
        answer_within(TRACING_PATIENCE, &self.socket, self.client.trace(filter)).await
    }
}

/// What the agent refused.
pub(crate) fn refused(status: tonic::Status) -> Error {
    Error::Agent(Box::new(status))
}

async fn answer<T>(
    socket: &Path,
    call: impl Future<Output = Result<Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    answer_within(PATIENCE, socket, call).await
}

async fn answer_within<T>(
    after: Duration,
    socket: &Path,
    call: impl Future<Output = Result<Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(after, call).await {
        Ok(answer) => Ok(answer.map_err(refused)?.into_inner()),
        Err(_) => Err(Error::Timeout { socket: socket.to_owned(), after }),
    }
}
