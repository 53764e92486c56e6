//! The way to the agent.

use std::path::Path;
use std::time::Duration;

use fairway_proto::node::pods_client::PodsClient;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};

use crate::error::Error;

/// How long an ADD waits for an agent that is starting.
pub(crate) const STARTING: Duration = Duration::from_secs(10);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest that a call may take.
const CALL: Duration = Duration::from_secs(60);

/// Connects to the agent; goes on trying for as long as `patience`.
pub(crate) async fn connect(socket: &Path, patience: Duration) -> Result<PodsClient<Channel>, Error> {
    let unreachable = |source| Error::Unreachable { socket: socket.to_owned(), source };
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).map_err(unreachable)?;
    let endpoint = endpoint.timeout(CALL);
    let end = Instant::now() + patience;
    loop {
        match endpoint.connect().await {
            Ok(channel) => return Ok(PodsClient::new(channel)),
            Err(_) if Instant::now() + PAUSE < end => sleep(PAUSE).await,
            Err(error) => return Err(unreachable(error)),
        }
    }
}
