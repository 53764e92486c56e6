//! Installs what the build needs and is not here, and says what and why.

pub(crate) mod apt;
mod linker;

use anyhow::{Context, Result};
use xtask::bpf::{self, Missing};

/// Installs a container runtime, and the plugins that stand beside Fairway's.
pub(crate) fn containerd() -> Result<()> {
    apt::install(
        &["containerd", "runc", "containernetworking-plugins", "busybox-static"],
        "pods are made by containerd, inside the lab's namespaces",
    )
}

/// Installs the other runtime that calls plugins.
pub(crate) fn podman() -> Result<()> {
    apt::install(&["podman"], "its containers are on Fairway's network, inside the lab's namespaces")
}

/// Installs the plugins that Fairway's is measured beside.
pub(crate) fn plugins() -> Result<()> {
    apt::install(
        &["containernetworking-plugins"],
        "its `ptp` and `host-local` are measured beside fairway-cni",
    )
}

/// Installs what Fairway is measured beside. What cannot be had is left out of the measurement, which says so.
pub(crate) fn peers() {
    for package in ["nftables", "iptables", "haproxy", "wrk"] {
        if let Err(error) = apt::install(&[package], "Services are measured beside it, or by it") {
            crate::sh::say(format_args!("{package} is left out: {error:#}"));
        }
    }
}

/// Makes sure that the kernel programs can be compiled. Touches nothing, network included, when they can.
pub(crate) fn toolchain() -> Result<()> {
    if bpf::detect().is_err_and(|missing| missing.contains(&Missing::Compiler)) {
        apt::install(
            &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"],
            "Rust's compiler with a core library for BPF (a rustup nightly with rust-src serves too)",
        )?;
    }
    let llvm = bpf::llvm_version().context(
        "`/usr/bin/rustc` cannot compile for BPF: try `apt-get install --reinstall rustc-web libstd-rust-web-dev-bpf`",
    )?;
    if !linker::fits(llvm) {
        linker::install(llvm)?;
    }
    Ok(())
}
