//! podman on a node, with its network made by CNI plugins. It is no daemon: each command is a process of its own.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::json;

use super::{image, network};
use crate::lab::{Place, State, binaries, command, search_path};

/// podman as a node's lab has it. Everything of it is below one directory, which goes with the lab.
#[derive(Clone, Debug)]
pub struct Podman {
    directory: PathBuf,
    place: Place,
    network: String,
}

impl Podman {
    /// That of the node `node`, whose network is Fairway's.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn of(state: &State, node: &str) -> io::Result<Self> {
        let directory = state.directory().join(node).join("podman");
        // The name tells whose namespaces there are, should nobody remove them.
        let this = Self { directory, place: state.place(node), network: state.podman_network() };
        network::link_plugins(&this.directory.join("plugins"))?;
        let networks = this.directory.join("networks");
        fs::create_dir_all(&networks)?;
        let list =
            json!({ "cniVersion": "1.0.0", "name": this.network, "plugins": [network::own(state, node)] });
        fs::write(networks.join("fairway.conflist"), list.to_string())?;
        fs::write(this.directory.join("containers.conf"), this.config())?;
        image::lay_out(&this.directory.join("rootfs"))?;
        Ok(this)
    }

    fn config(&self) -> String {
        let directory = self.directory.display();
        // The limits that podman chooses by itself may be above those of this process.
        format!(
            r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"

[network]
network_backend = "cni"
cni_plugin_dirs = ["{directory}/plugins"]
network_config_dir = "{directory}/networks"
default_network = "{network}"
"#,
            network = self.network,
        )
    }

    /// Starts a container of that name, which runs a program of this machine; the build's are found by name.
    ///
    /// # Errors
    /// What podman says.
    pub fn start(&self, cgroup: &str, name: &str, words: &[&str]) -> io::Result<()> {
        let path = format!("PATH={}", search_path()?.display());
        let mut arguments: Vec<String> =
            ["run", "--detach", "--name", name, "--env", &path].map(String::from).into();
        arguments
            .extend(["--network", &self.network, "--cgroup-parent", &format!("/{cgroup}")].map(String::from));
        // podman's own process beside the container stays where its caller is.
        arguments.push("--cgroups=no-conmon".into());
        for mount in image::mounts().into_iter().chain([binaries()?]) {
            arguments.extend(["--volume".into(), format!("{0}:{0}:ro", mount.display())]);
        }
        arguments.extend(["--rootfs".into(), self.directory.join("rootfs").display().to_string()]);
        arguments.extend(words.iter().map(|word| (*word).to_owned()));
        self.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).map(drop)
    }

    /// Runs a command of podman; what it wrote.
    ///
    /// # Errors
    /// What podman says.
    pub fn run(&self, words: &[&str]) -> io::Result<String> {
        let own = |name: &str| self.directory.join(name);
        let mut podman = command(&self.place, "podman")?;
        podman.env("CONTAINERS_CONF", own("containers.conf")).arg("--root").arg(own("root"));
        podman.arg("--runroot").arg(own("run")).arg("--tmpdir").arg(own("tmp"));
        podman
            .arg(format!("--runtime-flag=root={}", own("runc").display()))
            .args(["--storage-driver", "vfs"]);
        let output = podman.args(words).output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(io::Error::other(format!("podman {}: {text}", words.first().unwrap_or(&""))));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
