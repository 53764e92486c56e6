//! Real container runtimes on a node, inside its network namespace: containerd, spoken to as a kubelet does, and podman.

mod containerd;
mod cri;
mod image;
mod network;
pub mod plugin;
mod podman;

pub use containerd::{CHAINED, Containerd, FAILING, MissingError};
pub use cri::{Cri, Error, Exec, Pod, Port, Program};
pub use podman::Podman;
