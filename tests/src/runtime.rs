//! A real container runtime on a node: containerd, inside the node's network namespace, spoken to as a kubelet does.

mod containerd;
mod cri;
mod image;
pub mod plugin;

pub use containerd::{CHAINED, Containerd, FAILING, MissingError};
pub use cri::{Cri, Error, Exec, Pod, Port, Program};
