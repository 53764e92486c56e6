//! The licences of the code of others within the programs, with their texts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::sh;

/// The packages whose programs are given to others.
const OURS: [&str; 4] = ["fairway-agent", "fairway-cli", "fairway-cni", "fairway-control"];
/// How names of files with licences begin, in capitals.
const LICENCES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// A crate: what it is called, and under what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    licence: String,
    folder: String,
}

/// One text about the crates of the programs and of the kernel programs.
pub(crate) fn collect() -> Result<String> {
    let user = metadata("Cargo.toml")?;
    let kernel = metadata("ebpf/Cargo.toml")?;
    let is_ours = |package: &Value| package["name"].as_str().is_some_and(|name| OURS.contains(&name));
    let mut crates = linked(&user, is_ours);
    crates.extend(linked(&kernel, |package| package["source"].is_null()));
    Ok(text(&crates))
}

fn metadata(manifest: &str) -> Result<Value> {
    let mut cargo = sh::cargo();
    cargo.args(["metadata", "--format-version", "1", "--manifest-path", manifest, "--filter-platform"]);
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let text =
        sh::stdout(cargo.arg(platform)).with_context(|| format!("`cargo metadata` of {manifest} failed"))?;
    Ok(serde_json::from_str(&text)?)
}

/// The crates of others that are linked into packages for which `is_root` holds.
fn linked(metadata: &Value, is_root: impl Fn(&Value) -> bool) -> BTreeSet<Crate> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let id = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (id(&package["id"]), package)).collect();
    let needs: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let is_linked = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let deps = list(&node["deps"]);
            (id(&node["id"]), deps.iter().filter(is_linked).map(|dep| id(&dep["pkg"])).collect())
        })
        .collect();
    let mut open: Vec<String> =
        packages.iter().filter(|(_, package)| is_root(package)).map(|(id, _)| id.clone()).collect();
    let mut seen: BTreeSet<String> = open.iter().cloned().collect();
    while let Some(next) = open.pop() {
        open.extend(needs.get(&next).into_iter().flatten().filter(|id| seen.insert((*id).clone())).cloned());
    }
    let others = packages.iter().filter(|(id, package)| seen.contains(*id) && !package["source"].is_null());
    others
        .map(|(_, package)| Crate {
            name: format!("{} {}", id(&package["name"]), id(&package["version"])),
            licence: package["license"].as_str().unwrap_or("see its text").to_owned(),
            folder: id(&package["manifest_path"]).trim_end_matches("Cargo.toml").to_owned(),
        })
        .collect()
}

fn text(crates: &BTreeSet<Crate>) -> String {
    let mut out = String::from("The programs of Fairway contain these libraries; their licences follow.\n\n");
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for one in crates {
        // Writing into a String does not fail.
        let _ = writeln!(out, "{}: {}", one.name, one.licence);
        for text in licences(Path::new(&one.folder)) {
            texts.entry(text).or_default().push(&one.name);
        }
    }
    for (text, names) in &texts {
        let _ = write!(out, "\n{}\n{}:\n\n{}\n", "-".repeat(80), names.join(", "), text.trim_end());
    }
    out
}

/// The texts in a crate's folder, in the order of their files' names.
fn licences(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_licence = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        LICENCES.iter().any(|head| name.starts_with(head)) && path.is_file()
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(is_licence).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}
