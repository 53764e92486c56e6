//! The way to the agent.

use std::path::Path;
use std::time::Duration;

use fairway_proto::node::pods_client::PodsClient;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};

use crate::call::Command;
use crate::error::Error;

/// How long an ADD waits for an agent that is starting.
pub(crate) const STARTING: Duration = Duration::from_secs(10);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// Connects to the agent; goes on trying for as long as `patience`.
pub(crate) async fn connect(socket: &Path, patience: Duration) -> Result<PodsClient<Channel>, Error> {
    let unreachable = |source| Error::Unreachable { socket: socket.to_owned(), source };
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).map_err(unreachable)?;
    let end = Instant::now() + patience;
    loop {
        match endpoint.connect().await {
            Ok(channel) => return Ok(PodsClient::new(channel)),
            Err(_) if Instant::now() + PAUSE < end => sleep(PAUSE).await,
            Err(error) => return Err(unreachable(error)),
        }
    }
}

/// The longest that a call may take, connecting included: a runtime waits about two minutes.
pub(crate) fn deadline(command: Command) -> Duration {
    Duration::from_secs(match command {
        Command::Add | Command::Gc => 60,
        Command::Del | Command::Check => 30,
        Command::Status | Command::Version => 10,
    })
}
