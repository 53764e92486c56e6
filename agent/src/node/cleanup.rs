//! Takes everything that Fairway made off the node, and nothing else.

use fairway_datapath::Datapath;

use super::{Error, conflist, host, lock};
use crate::config::Config;
use crate::netlink::{Netlink, TUNNEL};
use crate::pods;

/// What [`cleanup`] is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleanup {
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Pods' devices and their routes too: the pods of this node lose their network.
    pub pods: bool,
}

/// Removes programs, maps, filters and routes of a node whose agent is stopped. Again is a success.
///
/// # Errors
///
/// An agent runs, or something could not be removed.
pub async fn cleanup(config: &Config, options: Cleanup) -> Result<(), Error> {
    host::check(config)?;
    let _only = lock::take(&config.state_dir)?;
    let netlink = Netlink::connect()?;
    let word = if options.dry_run { "would remove" } else { "removed" };
    let pins = Datapath::pinned(&config.bpf_root)?;
    let routes = netlink.own_routes(options.pods).await?;
    let mut devices = if options.pods { pods::devices(&config.state_dir)? } else { Vec::new() };
    if netlink.has_tunnel().await? {
        devices.push(TUNNEL.to_owned());
    }
    let conflist = config.cni_conf.as_deref().filter(|path| conflist::is_ours(path));
    let mut filters = Vec::new();
    if !options.dry_run {
        if let Some(path) = conflist {
            let failed = |source| Error::File { what: "cannot remove", path: path.to_owned(), source };
            std::fs::remove_file(path).map_err(failed)?;
        }
        Datapath::remove(&config.bpf_root)?;
        filters = Datapath::remove_filters()?;
        netlink.delete_own_routes(options.pods).await?;
        for device in &devices {
            netlink.delete_link(device).await?;
        }
    }
    if let Some(path) = conflist {
        println!("{word} file {}", path.display());
    }
    for pin in &pins {
        println!("{word} pin {}", pin.display());
    }
    for filter in &filters {
        println!("{word} filter {filter}");
    }
    for route in &routes {
        println!("{word} route {route}");
    }
    for device in &devices {
        println!("{word} device {device}");
    }
    if options.dry_run {
        println!("{word} filters of Fairway's programs at devices, if there are any (Linux before 6.6)");
    }
    let kept = if options.pods { "the last state" } else { "pods and the last state" };
    println!(
        "kept {} ({kept}); delete it by hand if the node is not to come back",
        config.state_dir.display()
    );
    Ok(())
}
