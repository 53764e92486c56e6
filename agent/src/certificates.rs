//! The certificates of the connection to the control plane: who looks after them is told in time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fairway_control::expiry::{self, End};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Config;
use crate::node::Shared;

/// How often it is told in the log.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// When those in the files end that the next connection uses; none without mutual TLS.
pub(crate) fn ends(config: &Config) -> Vec<End> {
    let files = config.tls.iter().flat_map(|files| [&files.cert, &files.ca]);
    files.flat_map(|path| expiry::read(path)).collect()
}

/// What to do about them soon, or late, a line each.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    ends(config).iter().filter_map(|end| end.warning(SystemTime::now())).collect()
}

/// Warns at once and once a day until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        for warning in warnings(&shared.config) {
            warn!("{warning}");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}
