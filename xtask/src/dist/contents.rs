//! What is in which package.

use anyhow::{Context, Result};

use super::Inputs;
use super::stage::{Content, Entry};
use crate::sh;

/// A Debian package.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// One line.
    pub(crate) summary: &'static str,
    /// Lines below it.
    pub(crate) description: &'static [&'static str],
    /// The packages that are of use beside it.
    pub(crate) suggests: &'static str,
    pub(crate) unit: &'static str,
    /// What the unit's files need before the package goes.
    pub(crate) on_remove: &'static str,
    pub(crate) entries: Vec<Entry>,
}

/// All packages.
pub(crate) fn packages(inputs: &Inputs) -> Result<Vec<Package>> {
    Ok(vec![agent(inputs)?, control(inputs)?])
}

fn agent(inputs: &Inputs) -> Result<Package> {
    let name = "fairway-agent";
    let binary = |file: &str| inputs.binaries.join(file);
    let link = Content::Link("/usr/lib/cni/fairway-cni");
    let mut entries = vec![
        Entry::program("usr/bin/fairway", binary("fairway")),
        Entry::program("usr/bin/fairway-agent", binary("fairway-agent")),
        Entry::program("usr/lib/cni/fairway-cni", binary("fairway-cni")),
        // Debian's container runtimes look there, those of others here.
        Entry { path: "opt/cni/bin/fairway-cni".into(), content: link, mode: 0o777 },
        unit("fairway-agent.service")?,
        Entry::copy("etc/fairway/agent.toml", sh::root().join("deploy/config/agent.toml")),
    ];
    let folders = [
        ("bash", "usr/share/bash-completion/completions/fairway"),
        ("zsh", "usr/share/zsh/vendor-completions/_fairway"),
        ("fish", "usr/share/fish/vendor_completions.d/fairway.fish"),
    ];
    for (shell, path) in folders {
        entries.push(Entry::text(path, completion(inputs, shell)?));
    }
    entries.extend(documents(inputs, name));
    Ok(Package {
        name,
        summary: "Kubernetes Services and pod networking of a node, with eBPF",
        description: &[
            "fairway-agent makes the Services of a Kubernetes cluster work on a node, in place",
            "of kube-proxy, and connects its pods as a CNI plugin. With it come the plugin,",
            "and `fairway`, which shows what is served, where connections go, and why packets",
            "are dropped.",
            ".",
            "It needs Linux 6.1, cgroup v2 and a BPF file system. Installing it starts nothing:",
            "see /etc/fairway/agent.toml, then `systemctl enable --now fairway-agent`.",
        ],
        suggests: "fairway-control",
        unit: "fairway-agent.service",
        // Without its program nobody could take it out of the kernel.
        on_remove: "fairway-agent --config /etc/fairway/agent.toml cleanup",
        entries,
    })
}

fn control(inputs: &Inputs) -> Result<Package> {
    let name = "fairway-control";
    let manifests = Content::EmptyFolder;
    let mut entries = vec![
        Entry::program("usr/bin/fairway-control", inputs.binaries.join("fairway-control")),
        unit("fairway-control.service")?,
        Entry::copy("etc/fairway/control.env", sh::root().join("deploy/config/control.env")),
        Entry { path: "etc/fairway/manifests".into(), content: manifests, mode: 0o755 },
    ];
    entries.extend(documents(inputs, name));
    Ok(Package {
        name,
        summary: "control plane of Fairway: Services and endpoints for its agents",
        description: &[
            "fairway-control reads Services, endpoints and nodes from manifests or from the",
            "Kubernetes API, and streams them to fairway-agent on every node.",
            ".",
            "Installing it starts nothing: see /etc/fairway/control.env, then",
            "`systemctl enable --now fairway-control`.",
        ],
        suggests: "fairway-agent",
        unit: "fairway-control.service",
        on_remove: "",
        entries,
    })
}

/// A unit for programs in /usr/bin.
fn unit(name: &str) -> Result<Entry> {
    let path = sh::root().join("deploy/systemd").join(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("`{}`", path.display()))?;
    Ok(Entry::text(format!("lib/systemd/system/{name}"), text.replace("/usr/local/bin/", "/usr/bin/")))
}

/// What a shell completes, by the program itself.
pub(crate) fn completion(inputs: &Inputs, shell: &str) -> Result<String> {
    let program = inputs.binaries.join("fairway");
    sh::stdout(sh::command(&program).args(["completion", shell]))
        .with_context(|| format!("`{} completion {shell}` failed", program.display()))
}

fn documents(inputs: &Inputs, package: &str) -> Vec<Entry> {
    let at = |file: &str| format!("usr/share/doc/{package}/{file}");
    vec![
        Entry::copy(at("README.md"), sh::root().join("README.md")),
        Entry::text(at("copyright"), COPYRIGHT),
        Entry::copy(at("LICENSE"), sh::root().join("LICENSE")),
        Entry::copy(at("LICENSE-GPL-2.0"), sh::root().join("LICENSE-GPL-2.0")),
        Entry::text(at("THIRD-PARTY"), inputs.notices.clone()),
    ]
}

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: fairway
Comment: The licences of the libraries within the programs are in THIRD-PARTY.

Files: *
Copyright: The authors of Fairway
License: Apache-2.0 or GPL-2.0-only

License: Apache-2.0
 See LICENSE in this folder.

License: GPL-2.0-only
 See LICENSE-GPL-2.0 in this folder, or /usr/share/common-licenses/GPL-2.
";
