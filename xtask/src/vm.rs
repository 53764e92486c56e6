//! The kernel tests on Linux 6.1, the oldest that Fairway supports: Debian's kernel in a virtual machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::setup::{self, apt};
use crate::{sh, suite};

/// The machine's first process.
const INIT: &str = include_str!("vm/init.sh");
/// What Debian's kernel has as modules and the tests want.
const MODULES: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];
/// What the tests run besides themselves.
const TOOLS: [&str; 2] = ["ip", "tc"];

/// Runs the test binaries of the data path in the machine. The total is the last line.
pub(crate) fn test() -> Result<ExitCode> {
    if !cfg!(target_arch = "x86_64") {
        bail!(
            "the virtual machine runs this machine's test binaries on an x86-64 kernel: not on this machine"
        );
    }
    setup::toolchain()?;
    apt::install(
        &["qemu-system-x86", "busybox-static", "iproute2"],
        "the virtual machine's emulator and its user space",
    )?;
    let folder = sh::root().join("target/vm");
    fs::create_dir_all(&folder).context("target/vm cannot be made")?;
    let kernel = kernel(&folder)?;
    let initramfs = initramfs(&folder, &kernel, &binaries()?)?;
    boot(&kernel, &initramfs)
}

/// Unpacks the kernel's package below `folder`, unless it is there; nothing is installed.
fn kernel(folder: &Path) -> Result<PathBuf> {
    let depends = sh::stdout(sh::command("apt-cache").args(["depends", "linux-image-cloud-amd64"]));
    let depends = depends.unwrap_or_default();
    let package = depends
        .split_whitespace()
        .find(|word| word.starts_with("linux-image-6.1."))
        .context("apt offers no linux-image-cloud-amd64 of Linux 6.1: is Debian 12 (bookworm) a source, and did `apt-get update` run?")?;
    let unpacked = folder.join(package);
    if unpacked.exists() {
        return Ok(unpacked);
    }
    sh::say(format_args!("fetching {package}: unpacked in target/vm, not installed"));
    let fresh = folder.join("unpacking");
    remove(&fresh)?;
    fs::create_dir_all(&fresh)?;
    sh::run_quietly(sh::command("apt-get").args(["download", "-q", package]).current_dir(&fresh))?;
    let archive = files(&fresh)?.into_iter().next().context("apt-get downloaded nothing")?;
    sh::run_quietly(sh::command("dpkg").arg("-x").arg(&archive).arg(&fresh))?;
    fs::remove_file(archive)?;
    fs::rename(&fresh, &unpacked)?;
    Ok(unpacked)
}

/// Builds the tests of the data path.
fn binaries() -> Result<Vec<PathBuf>> {
    let mut cargo = sh::cargo();
    cargo.args(["test", "--package", "fairway-datapath", "--test", "packet", "--test", "kernel", "--no-run"]);
    sh::say("building the tests of the data path");
    let output = cargo.output().context("cargo does not start")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("the tests do not build:\n{text}");
    }
    // `  Executable tests/packet.rs (target/debug/deps/packet-0123456789abcdef)`
    let lines = text.lines().filter(|line| line.trim_start().starts_with("Executable "));
    let paths = lines.filter_map(|line| line.rsplit_once('(')?.1.strip_suffix(')'));
    Ok(paths.map(|path| sh::root().join(path)).collect())
}

/// Packs the machine's whole file system: the tests, their libraries and tools, busybox and the modules.
fn initramfs(folder: &Path, kernel: &Path, tests: &[PathBuf]) -> Result<PathBuf> {
    let root = folder.join("root");
    remove(&root)?;
    for directory in ["bin", "dev", "modules", "proc", "run", "sys", "tests", "tmp"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::write(root.join("init"), INIT)?;
    sh::run(sh::command("chmod").arg("755").arg(root.join("init")))?;
    copy(&program("busybox")?, &root.join("bin/busybox"))?;
    for test in tests {
        let name = test.file_name().context("a test has no name")?;
        add(test, &root.join("tests").join(name), &root)?;
    }
    for tool in TOOLS {
        add(&program(tool)?, &root.join("bin").join(tool), &root)?;
    }
    for module in MODULES {
        let file = sh::stdout(sh::command("find").arg(kernel).args(["-name", &format!("{module}.ko")]));
        let file = file.unwrap_or_default();
        copy(Path::new(file.trim()), &root.join("modules").join(module).with_extension("ko"))?;
    }
    let archive = folder.join("initramfs");
    let pack = "find . | busybox cpio -o -H newc";
    let mut sh = sh::command("sh");
    sh.args(["-c", pack]).current_dir(&root).stdout(fs::File::create(&archive)?).stderr(Stdio::null());
    sh::run(&mut sh)?;
    Ok(archive)
}

/// Copies a program to `target`, and the libraries that it names to where it looks for them.
fn add(file: &Path, target: &Path, root: &Path) -> Result<()> {
    copy(file, target)?;
    let libraries = sh::stdout(sh::command("ldd").arg(file)).unwrap_or_default();
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(library), &root.join(library.trim_start_matches('/')))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file needs a folder")?)?;
    fs::copy(from, to).with_context(|| format!("`{}` cannot be copied", from.display()))?;
    Ok(())
}

/// Starts the machine and reads its console until it switches itself off.
fn boot(kernel: &Path, initramfs: &Path) -> Result<ExitCode> {
    let images = files(&kernel.join("boot"))?;
    let image = images
        .iter()
        .find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
        .context("the package has no kernel")?;
    sh::say("starting the machine; software emulates it, this takes a few minutes");
    let mut qemu = sh::command("qemu-system-x86_64");
    qemu.args(["-cpu", "max", "-smp", "2", "-m", "1024", "-nic", "none", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 panic=-1 quiet"])
        .stdin(Stdio::null());
    let mut ended = false;
    let (mut total, _) = suite::read(&mut qemu, |line| {
        ended |= line.trim_end() == "vm: end";
        true
    })?;
    if !ended {
        sh::say("the machine stopped before its tests had ended");
        total.failed += 1;
    }
    println!("vm: {total}");
    Ok(if total.failed == 0 && total.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A program's file.
fn program(name: &str) -> Result<PathBuf> {
    let file = xtask::bpf::program(name).or_else(|| {
        // Not on everyone's PATH.
        Some(Path::new("/usr/sbin").join(name)).filter(|file| file.is_file())
    });
    file.with_context(|| format!("no program `{name}`"))
}

/// The files of a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("`{}` cannot be read", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
