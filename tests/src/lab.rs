//! A world of network namespaces: an underlay, nodes, pods and a client outside the cluster.

mod cgroup;
mod enter;
mod handle;
mod kernel;
mod leftovers;
mod life;
pub mod manifests;
mod netns;
mod offload;
mod plan;
mod protocol;
mod server_pod;
mod state;
mod wire;

pub use cgroup::Cgroup;
pub use enter::{Place, command};
pub(crate) use enter::{binaries, search_path};
pub use handle::{Lab, Running};
pub use life::{DownError, UpError, clean_stale, down, keep_logs, up};
pub use manifests::{ManifestError, Manifests, Object};
pub use netns::Netns;
pub use plan::{Families, Plan, Runtime, SocketLb};
pub use protocol::{Answer, PodState, ProcessState, Request, Status};
pub use server_pod::{SERVER_PORT, SERVER_PROBE, server_pod, server_pod_with};
pub use state::{Owner, State, labs};
pub use wire::WireError;
