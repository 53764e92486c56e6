//! Worlds of network namespaces in which Fairway runs as on real nodes, the programs that send traffic through them, and
//! a Kubernetes API server.

pub mod apiserver;
mod eventually;
pub mod keeper;
pub mod lab;
pub mod peer;
pub mod runtime;
pub mod traffic;
pub mod trial;

pub use eventually::{eventually, eventually_within};
