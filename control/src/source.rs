//! Where declarations come from: manifests in a directory.

mod address;
mod declaration;
mod directory;
mod document;
mod endpoint_slice;
mod endpoints_object;
mod file;
mod merge;
mod node;
mod pod;
mod problem;
mod reader;
mod service;
mod watch;

pub(crate) use declaration::{Declarations, Declared, Family, Origin, Pod, Service, Target};
pub(crate) use directory::Directory;
pub(crate) use watch::{Newest, watch};

pub use problem::{Cause, Problem};
