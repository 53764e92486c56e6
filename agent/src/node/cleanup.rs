//! Takes the data path off the node.

use fairway_datapath::Datapath;

use super::{Error, host, lock};
use crate::config::Config;

/// Detaches all programs and removes all maps of a node whose agent is stopped. Again is a success.
///
/// # Errors
///
/// An agent runs, or something could not be removed.
pub fn cleanup(config: &Config) -> Result<(), Error> {
    host::check(config)?;
    let _only = lock::take(&config.state_dir)?;
    Datapath::remove(&config.bpf_root)?;
    println!("removed programs and maps below {}", config.bpf_root.display());
    println!(
        "kept {} (pods and the last state); delete it by hand if the node is not to come back",
        config.state_dir.display()
    );
    Ok(())
}
