//! Where declarations come from: manifests in a directory, or the Kubernetes API.

mod address;
mod declaration;
mod directory;
pub mod document;
mod endpoint_slice;
mod endpoints_object;
mod file;
pub(crate) mod kubernetes;
mod merge;
mod node;
mod pod;
mod problem;
mod reader;
mod service;
#[cfg(test)]
pub(crate) mod tests;
mod watch;

pub(crate) use declaration::{
    Declarations, Declared, Endpoints, Family, Origin, Pod, Service, Slice, Target,
};
pub(crate) use directory::Directory;
pub(crate) use watch::{Newest, watch};

pub use kubernetes::{ConnectionError, Kubernetes};
pub use problem::{Cause, Problem};

/// Reads a directory of manifests once: what is wrong in it, sorted by place, and how many objects of which kind
/// it declares.
pub fn validate(path: &std::path::Path) -> (Vec<Problem>, std::collections::BTreeMap<String, usize>) {
    let mut directory = Directory::new(path);
    directory.refresh();
    let all = directory.declarations();
    let mut counts = all.skipped.clone();
    let kinds = [
        ("Service", all.services.len()),
        ("EndpointSlice", all.slices.len()),
        ("Endpoints", all.endpoints.len()),
        ("Pod", all.pods.len()),
        ("Node", all.nodes.len()),
    ];
    counts.extend(kinds.map(|(kind, count)| (kind.to_owned(), count)));
    let agents = crate::controller::Agents::default();
    (crate::controller::resolve(&all, &agents).problems, counts)
}
