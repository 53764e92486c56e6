//! Worlds of network namespaces in which Fairway runs as on real nodes, and the programs that send traffic through them.

mod eventually;
pub mod keeper;
pub mod lab;
pub mod peer;
pub mod runtime;
pub mod traffic;
pub mod trial;

pub use eventually::{eventually, eventually_within};
