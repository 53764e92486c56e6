//! Connections and affinity, read and changed without the data path's lock.

use std::net::IpAddr;
use std::sync::Arc;

use fairway_datapath::{Affinity, Client, Connection, ConnectionKey, Tracker};
use fairway_proto::node::{self, FlushConntrackRequest};
use tonic::{Status, Streaming};

use super::{Directory, internal};
use crate::node::Shared;

/// Works with the tables on a thread that may wait.
async fn with_tables<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&mut Tracker) -> Result<T, fairway_datapath::Error> + Send + 'static,
) -> Result<T, Status> {
    let pins = shared.config.bpf_root.clone();
    let work = move || work(&mut Tracker::open(&pins)?);
    let result = tokio::task::spawn_blocking(work).await.map_err(|error| internal(&error))?;
    result.map_err(|error| internal(&error))
}

/// Names for what stands in the tables.
fn names(shared: &Shared) -> Directory {
    Directory::new(&shared.state.borrow(), &shared.pods.list())
}

/// All connections, and names for them.
pub(super) async fn connections(shared: &Shared) -> Result<(Vec<Connection>, Directory), Status> {
    let timeouts = shared.config.timeouts;
    let connections = with_tables(shared, move |tracker| tracker.list(&timeouts)).await?;
    Ok((connections, names(shared)))
}

/// Ends connections as they are named; returns how many were there.
pub(super) async fn flush(
    shared: &Arc<Shared>,
    mut requests: Streaming<FlushConntrackRequest>,
) -> Result<usize, Status> {
    let mut ended = 0;
    while let Some(request) = requests.message().await? {
        let keys = request.connections.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        ended += with_tables(shared, move |tracker| tracker.flush(keys)).await?;
    }
    if ended > 0 {
        tracing::info!(ended, "connections were ended by hand");
    }
    Ok(ended)
}

fn key(key: &node::ConnectionKey) -> Result<ConnectionKey, Status> {
    let wrong = |what: &str| Status::invalid_argument(format!("`{what}` is no address, port or protocol"));
    let end = |address: &str, port: u32| {
        let address: IpAddr = address.parse().map_err(|_| wrong(address))?;
        Ok::<_, Status>((address, u16::try_from(port).map_err(|_| wrong(&port.to_string()))?))
    };
    Ok(ConnectionKey {
        protocol: u8::try_from(key.protocol).map_err(|_| wrong(&key.protocol.to_string()))?,
        source: end(&key.source, key.source_port)?,
        frontend: end(&key.frontend, key.frontend_port)?,
    })
}

/// The backends that clients keep.
pub(super) async fn affinities(shared: &Shared) -> Result<Vec<node::Affinity>, Status> {
    let rows = with_tables(shared, |tracker| tracker.affinities()).await?;
    let names = names(shared);
    Ok(rows.iter().map(|row| affinity(row, &names)).collect())
}

fn affinity(row: &Affinity, names: &Directory) -> node::Affinity {
    let (client, kind) = match row.client {
        Client::Address(address) => (address.to_string(), "address"),
        Client::Namespace(cookie) => (cookie.to_string(), "namespace"),
        Client::Socket(cookie) => (cookie.to_string(), "socket"),
    };
    let pod = |address: IpAddr| names.pod(address).unwrap_or_default().to_owned();
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    node::Affinity {
        client_pod: if let Client::Address(address) = row.client { pod(address) } else { String::new() },
        client,
        kind: kind.to_owned(),
        service: names.service(row.service).unwrap_or_default().to_owned(),
        service_id: row.service,
        backend: row.backend.map(|backend| backend.ip().to_string()).unwrap_or_default(),
        backend_port: row.backend.map_or(0, |backend| backend.port().into()),
        backend_pod: row.backend.map(|backend| pod(backend.ip())).unwrap_or_default(),
        since_seconds: seconds(row.since),
        expires_seconds: seconds(row.expires),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_no_connection_is_refused() {
        let good = node::ConnectionKey {
            protocol: 6,
            source: "10.0.0.1".into(),
            source_port: 1,
            frontend: "fd00::1".into(),
            frontend_port: 65_535,
        };
        assert_eq!(key(&good).unwrap().frontend.1, 65_535);
        for wrong in [
            node::ConnectionKey { source: "web".into(), ..good.clone() },
            node::ConnectionKey { frontend_port: 65_536, ..good.clone() },
            node::ConnectionKey { protocol: 300, ..good.clone() },
        ] {
            assert_eq!(key(&wrong).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }

    #[test]
    fn a_client_that_is_seen_at_its_socket_has_no_address() {
        let seconds = std::time::Duration::from_secs;
        let row = Affinity {
            client: Client::Namespace(7),
            service: 3,
            backend: None,
            since: seconds(4),
            expires: seconds(10_796),
        };
        let row = affinity(&row, &Directory::default());
        assert_eq!((row.client.as_str(), row.kind.as_str(), row.backend.as_str()), ("7", "namespace", ""));
        assert_eq!((row.service_id, row.since_seconds, row.expires_seconds), (3, 4, 10_796));
    }
}
