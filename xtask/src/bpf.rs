//! The BPF toolchain: which one is here, what it lacks, and how it builds the kernel programs.
//!
//! Two routes: Debian's rustc with its prebuilt libcore for BPF, and a rustup nightly with `rust-src`.
//! Both need bpf-linker, built for the LLVM of the rustc that writes the bitcode.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const TARGET: &str = "bpfel-unknown-none";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A way to compile for BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Debian's rustc-web with libstd-rust-web-dev-bpf.
    Debian,
    /// A rustup nightly with rust-src: libcore is built too.
    Nightly,
}

/// A toolchain that can build the kernel programs.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// How.
    pub route: Route,
    /// The linker.
    pub linker: PathBuf,
}

/// What is needed and not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Neither Debian's compiler with a BPF libcore, nor a nightly with rust-src.
    Compiler,
    /// No bpf-linker.
    Linker,
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn sysroot(command: &mut Command) -> Option<PathBuf> {
    output(command.args(["--print", "sysroot"])).map(|path| PathBuf::from(path.trim()))
}

fn debian_route() -> bool {
    sysroot(&mut Command::new(DEBIAN_RUSTC))
        .is_some_and(|root| root.join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "rustc"]);
    command
}

fn nightly_route() -> bool {
    sysroot(&mut nightly()).is_some_and(|root| root.join("lib/rustlib/src/rust/library/core").is_dir())
}

/// Where a program is found: PATH, then cargo's own folder.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    std::env::split_paths(&path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The toolchain, or what it lacks.
pub fn detect() -> Result<Toolchain, Vec<Missing>> {
    let route = if debian_route() {
        Some(Route::Debian)
    } else if nightly_route() {
        Some(Route::Nightly)
    } else {
        None
    };
    match (route, program("bpf-linker")) {
        (Some(route), Some(linker)) => Ok(Toolchain { route, linker }),
        (route, linker) => {
            let compiler = route.is_none().then_some(Missing::Compiler);
            let linker = linker.is_none().then_some(Missing::Linker);
            Err(compiler.into_iter().chain(linker).collect())
        }
    }
}

/// LLVM's major version of the rustc that writes the bitcode: bpf-linker must be built for the same.
pub fn llvm_version() -> Option<u32> {
    let mut rustc = if debian_route() { Command::new(DEBIAN_RUSTC) } else { nightly() };
    let text = output(rustc.arg("-vV"))?;
    let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// For a build script: compiles one binary of the crate of kernel programs, which lies beside the script's own crate, to
/// `NAME.bpf.o` in OUT_DIR, again when one of `sources` changes.
pub fn embed(binary: &str, name: &str, sources: &[&str]) -> Result<()> {
    for path in sources.iter().chain(&["../ebpf/Cargo.toml", "../ebpf/Cargo.lock"]) {
        println!("cargo::rerun-if-changed={path}");
    }
    let toolchain = match detect() {
        Ok(toolchain) => toolchain,
        Err(missing) => {
            bail!("cannot build the kernel programs, missing: {missing:?}; `./x build` installs it")
        }
    };
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let object = toolchain.build(Path::new("../ebpf"), &out.join("bpf"), binary)?;
    std::fs::copy(&object, out.join(format!("{name}.bpf.o")))
        .with_context(|| format!("no `{}`", object.display()))?;
    Ok(())
}

impl Toolchain {
    /// Compiles one binary of the crate in `source` into `target`; returns the object's path.
    pub fn build(&self, source: &Path, target: &Path, object: &str) -> Result<PathBuf> {
        let flags = [
            format!("-Clinker={}", self.linker.display()),
            "-Clink-arg=--btf".into(),
            // LLVM 22 crashes on in-order copies of 40 bytes.
            "-Clink-arg=--disable-expand-memcpy-in-order".into(),
            // 32-bit registers and jumps: Linux 5.1.
            "-Ctarget-cpu=v3".into(),
            "-Cdebuginfo=2".into(),
        ];
        let mut cargo = match self.route {
            Route::Debian => {
                let mut cargo = Command::new(cargo());
                // Bootstrap: aya-ebpf uses one unstable feature.
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").arg("build");
                cargo
            }
            Route::Nightly => {
                let mut cargo = Command::new("rustup");
                cargo.args(["run", "nightly", "cargo", "build", "-Zbuild-std=core"]);
                cargo
            }
        };
        // A build script inherits its own cargo's settings, which are for another target.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_cargo_setting(name)) {
            cargo.env_remove(name);
        }
        let status = cargo
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .args(["--release", "--quiet", "--locked", "--target", TARGET, "--target-dir"])
            .arg(target)
            .args(["--bin", object])
            .current_dir(source)
            .status()
            .context("cargo does not start")?;
        if !status.success() {
            bail!("the kernel programs do not compile (see above)");
        }
        Ok(target.join(TARGET).join("release").join(object))
    }
}

/// The cargo to call: under rustup the real one, since a proxy would choose its own rustc.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn is_cargo_setting(name: &std::ffi::OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "RUSTUP_TOOLCHAIN", "RUSTC_LINKER"]
        .contains(&name)
        || name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_FEATURE_")
        || name.starts_with("CARGO_CFG_")
        || name.starts_with("CARGO_PROFILE_")
        || name == "CARGO_TARGET_DIR"
        || name == "CARGO_BUILD_TARGET"
}
