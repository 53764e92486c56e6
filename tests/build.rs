//! Compiles the container runtime interface, in Rust: no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "proto/cri.proto";
    println!("cargo::rerun-if-changed={file}");
    let descriptors = protox::compile([file], ["."])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
