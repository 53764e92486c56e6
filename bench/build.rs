//! Compiles the program that measures the kernel programs.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use xtask::bpf;

fn main() -> Result<()> {
    for path in
        ["../ebpf/src/harness.rs", "../ebpf/Cargo.toml", "../ebpf/Cargo.lock", "../common/src/harness.rs"]
    {
        println!("cargo::rerun-if-changed={path}");
    }
    let toolchain = match bpf::detect() {
        Ok(toolchain) => toolchain,
        Err(missing) => {
            bail!("cannot build the kernel programs, missing: {missing:?}; `./x build` installs it")
        }
    };
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let object = toolchain.build(&PathBuf::from("../ebpf"), &out.join("bpf"), "fairway-harness")?;
    std::fs::copy(&object, out.join("harness.bpf.o"))
        .with_context(|| format!("no `{}`", object.display()))?;
    Ok(())
}
