//! What the build scripts share with the task runner.

pub mod bpf;
