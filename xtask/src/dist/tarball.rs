//! The tarball, for machines without Debian's packages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::stage::{Entry, Stage};
use super::{Inputs, contents, tool};
use crate::sh;

/// Folders whose files go in as they are.
const FOLDERS: [&str; 4] = ["systemd", "config", "kubernetes", "cert-manager"];

/// Writes `fairway-VERSION-linux-ARCHITECTURE.tar.gz` into `out`.
pub(crate) fn write(inputs: &Inputs, out: &Path) -> Result<PathBuf> {
    let name = format!("fairway-{}-linux-{}", inputs.version, inputs.architecture);
    let stage = Stage::fill(out, &name, &entries(inputs, &name)?)?;
    stage.seal(inputs.epoch)?;
    let path = out.join(format!("{name}.tar.gz"));
    sh::run_quietly(
        tool(inputs, "tar")
            .args(["--create", "--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--use-compress-program=gzip -9n", "--file"])
            .arg(&path)
            .arg("--directory")
            .arg(&stage.root)
            .arg(&name),
    )?;
    Ok(path)
}

fn entries(inputs: &Inputs, name: &str) -> Result<Vec<Entry>> {
    let at = |path: &str| format!("{name}/{path}");
    let mut entries = Vec::new();
    for program in ["fairway", "fairway-agent", "fairway-control", "fairway-cni"] {
        entries.push(Entry::program(&at(&format!("bin/{program}")), inputs.binaries.join(program)));
    }
    for (shell, file) in [("bash", "fairway.bash"), ("zsh", "_fairway"), ("fish", "fairway.fish")] {
        entries.push(Entry::text(at(&format!("completions/{file}")), contents::completion(inputs, shell)?));
    }
    for folder in FOLDERS {
        let from = sh::root().join("deploy").join(folder);
        for file in std::fs::read_dir(&from).with_context(|| format!("`{}`", from.display()))? {
            let file = file?;
            let name = file.file_name();
            entries
                .push(Entry::copy(at(&format!("deploy/{folder}/{}", name.to_string_lossy())), file.path()));
        }
    }
    entries.push(Entry::copy(at("deploy/Containerfile"), sh::root().join("deploy/Containerfile")));
    for file in ["README.md", "LICENSE", "LICENSE-GPL-2.0"] {
        entries.push(Entry::copy(at(file), sh::root().join(file)));
    }
    entries.push(Entry::text(at("THIRD-PARTY"), inputs.notices.clone()));
    Ok(entries)
}
