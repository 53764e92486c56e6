//! bpf-linker, which must be built with the LLVM of the compiler that writes the bitcode.

use anyhow::{Context, Result};
use xtask::bpf;

use super::apt;
use crate::sh;

/// Whether a bpf-linker is here, starts, and is linked with this LLVM.
pub(super) fn fits(llvm: u32) -> bool {
    let Some(linker) = bpf::program("bpf-linker") else { return false };
    if sh::stdout(sh::command(&linker).arg("--version")).is_none() {
        return false;
    }
    let libraries = sh::stdout(sh::command("ldd").arg(&linker)).unwrap_or_default();
    // Linked statically, it names no LLVM: its owner knows best.
    linked_llvm(&libraries).is_none_or(|found| found == llvm)
}

/// Builds and installs bpf-linker into cargo's own folder.
pub(super) fn install(llvm: u32) -> Result<()> {
    let packages = [
        format!("llvm-{llvm}-dev"),
        format!("libpolly-{llvm}-dev"),
        "zlib1g-dev".into(),
        "libzstd-dev".into(),
    ];
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    apt::install(&packages, "bpf-linker is built with LLVM's libraries")?;
    sh::say(format_args!(
        "installing bpf-linker for LLVM {llvm}, which links the kernel programs (about a minute)"
    ));
    let prefix = format!("/usr/lib/llvm-{llvm}");
    let mut cargo = sh::cargo();
    cargo
        .args(["install", "--quiet", "--locked", "--force", "bpf-linker", "--version", "^0.13"])
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}")])
        .env("RUSTFLAGS", format!("-L {prefix}/lib"))
        .env("LLVM_PREFIX", prefix);
    sh::run(&mut cargo).context("bpf-linker could not be installed")
}

/// The LLVM that `ldd` finds a program linked with.
fn linked_llvm(ldd: &str) -> Option<u32> {
    ldd.lines().find_map(|line| {
        let name = line.trim().strip_prefix("libLLVM").and_then(|rest| rest.split_whitespace().next())?;
        name.split(['.', '-']).find_map(|part| part.parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::linked_llvm;

    #[test]
    fn llvm_is_read_from_the_names_of_libraries() {
        let new = "\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x00007fcb9d600000)\n";
        let old = "\tlibc.so.6 => /lib/libc.so.6 (0x1)\n\tlibLLVM-15.so.1 => not found\n";
        assert_eq!(linked_llvm(new), Some(22));
        assert_eq!(linked_llvm(old), Some(15));
        assert_eq!(linked_llvm("\tstatically linked\n"), None);
    }
}
