//! What Fairway is compared to: Services as the kernel's own packet filter serves them.

pub mod iptables;
mod lab;
pub mod nftables;
mod slices;

pub use lab::{PeerError, load_iptables, load_nftables, serve_by_nftables};
pub use slices::{Backing, of_selectors};
