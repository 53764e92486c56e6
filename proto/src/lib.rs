//! The gRPC contracts, the validated model of what they carry, and the queue of deletions.

pub mod deletions;
pub mod model;

/// The messages and services as generated; `descriptors` is for gRPC reflection.
#[expect(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated: the .proto files are the documentation"
)]
#[allow(unreachable_pub, reason = "generated")]
pub mod fairway {
    /// The stream between the control plane and the agents.
    pub mod control {
        pub mod v1 {
            tonic::include_proto!("fairway.control.v1");
        }
    }
    /// What an agent tells its node.
    pub mod node {
        pub mod v1 {
            tonic::include_proto!("fairway.node.v1");
        }
    }
}

pub use fairway::{control::v1 as control, node::v1 as node};

/// The compiled .proto files.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
