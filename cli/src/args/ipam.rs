//! Options of `ipam`.

use std::net::IpAddr;

use clap::Subcommand;

/// Verbs of `ipam`.
#[derive(Debug, Subcommand)]
pub(crate) enum IpamCommand {
    /// List the ranges of pods' addresses, and who has which address
    #[command(
        visible_alias = "ls",
        before_help = "Examples:
  fairway ipam list
  fairway ipam list -o wide      containers too
  fairway ipam list -o json | jq '.ranges[].free'"
    )]
    List,
    /// Compare the list of pods with the node's devices, routes and the data path's entries
    #[command(before_help = "Examples:
  fairway ipam check             exit 1 if something differs")]
    Check,
    /// Free an address that nobody frees, with all that its pod has
    #[command(before_help = "Examples:
  fairway ipam release 10.244.1.7

An address that a pod uses is not released without --force: the pod loses its network, all its addresses included.
Exit 4 when nothing has the address.")]
    Release {
        /// The address
        address: IpAddr,
        /// Also if a pod uses it
        #[arg(long)]
        force: bool,
    },
}
