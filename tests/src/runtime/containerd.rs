//! containerd on a node: its files, its configuration, its images.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{image, network};
use crate::lab::State;

/// The runtime handler of pods whose network is Fairway's with Debian's plugins behind it.
pub const CHAINED: &str = "chained";
/// The same with a plugin behind it that fails.
pub const FAILING: &str = "failing";

/// Something that containerd needs is not on this machine.
#[derive(Debug, thiserror::Error)]
#[error("no `{program}` here: `apt-get install --no-install-recommends {package}`")]
pub struct MissingError {
    /// The program.
    pub program: &'static str,
    /// Debian's name for the package that has it.
    pub package: &'static str,
}

/// The containerd of one node. Everything of it is below one directory, which goes with the lab.
#[derive(Clone, Debug)]
pub struct Containerd {
    directory: PathBuf,
    /// Fairway's plugin in a network configuration.
    own: Value,
}

impl Containerd {
    /// That of the node `node`, which need not run.
    #[must_use]
    pub fn of(state: &State, node: &str) -> Self {
        Self { directory: state.directory().join(node).join("containerd"), own: network::own(state, node) }
    }

    /// Whether all that it needs is on this machine.
    ///
    /// # Errors
    /// What is missing, and how to install it.
    pub fn installed() -> Result<(), MissingError> {
        let needed = [
            ("/usr/bin/containerd", "containerd"),
            ("/usr/bin/ctr", "containerd"),
            ("/usr/sbin/runc", "runc"),
            ("/usr/lib/cni/loopback", "containernetworking-plugins"),
            ("/bin/busybox", "busybox-static"),
        ];
        let missing = needed.into_iter().find(|(program, _)| !Path::new(program).exists());
        missing.map_or(Ok(()), |(program, package)| Err(MissingError { program, package }))
    }

    /// Its socket, which also speaks CRI.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("containerd.sock")
    }

    /// Where it looks for the network of its pods, which the node's agent writes.
    #[must_use]
    pub fn network_file(&self) -> PathBuf {
        self.directory.join("cni/net.d/10-fairway.conflist")
    }

    /// Writes its files, and returns the program with its arguments.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn prepare(&self) -> io::Result<Vec<String>> {
        network::link_plugins(&self.directory.join("cni/bin"))?;
        fs::create_dir_all(self.network_file().parent().unwrap_or(&self.directory))?;
        let chain = [
            json!({ "type": "portmap", "capabilities": { "portMappings": true } }),
            json!({ "type": "bandwidth", "capabilities": { "bandwidth": true } }),
            json!({ "type": "tuning", "sysctl": { "net.ipv4.conf.eth0.arp_filter": "1" } }),
        ];
        self.write(&format!("cni/{CHAINED}/10-fairway.conflist"), &self.network(&chain).to_string())?;
        let fails = [json!({ "type": "tuning", "sysctl": { "net.ipv4.conf.eth0.no_such": "1" } })];
        self.write(&format!("cni/{FAILING}/10-fairway.conflist"), &self.network(&fails).to_string())?;
        self.write("config.toml", &self.config())?;
        let config = self.directory.join("config.toml").display().to_string();
        Ok(vec!["containerd".into(), "--config".into(), config])
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.directory.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
        fs::write(path, text)
    }

    /// Fairway's network, with other plugins behind it.
    fn network(&self, behind: &[Value]) -> Value {
        let plugins: Vec<&Value> = std::iter::once(&self.own).chain(behind).collect();
        json!({ "cniVersion": "1.0.0", "name": "fairway", "plugins": plugins })
    }

    fn config(&self) -> String {
        let (directory, pause) = (self.directory.display(), image::PAUSE);
        let snapshotters = ["aufs", "btrfs", "devmapper", "overlayfs", "zfs"];
        let unused = snapshotters.map(|name| format!("\"io.containerd.snapshotter.v1.{name}\"")).join(", ");
        let handlers = [("runc", "net.d"), (CHAINED, CHAINED), (FAILING, FAILING)];
        format!(
            r#"version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = [{unused}]

[grpc]
address = "{directory}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
disable_tcp_service = true
netns_mounts_under_state_dir = true
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{directory}/cni/bin"
conf_dir = "{directory}/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
{handlers}"#,
            handlers = handlers.map(|(name, networks)| self.handler(name, networks)).concat(),
        )
    }

    fn handler(&self, name: &str, networks: &str) -> String {
        let directory = self.directory.display();
        let section = format!("plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{name}");
        format!(
            "\n[{section}]\nruntime_type = \"io.containerd.runc.v2\"\ncni_conf_dir = \"{directory}/cni/{networks}\"\n\
             \n[{section}.options]\nRoot = \"{directory}/runc\"\n"
        )
    }

    /// Brings in the images that the lab's containers start from.
    ///
    /// # Errors
    /// What `ctr` says; also when containerd does not listen yet.
    pub async fn import_images(&self) -> io::Result<()> {
        for name in [image::PAUSE, image::ROOT] {
            let mut ctr = Command::new("ctr");
            ctr.arg("--address").arg(self.socket()).args([
                "--namespace",
                "k8s.io",
                "--connect-timeout",
                "1s",
            ]);
            ctr.args(["images", "import", "--snapshotter", "native", "-"]).kill_on_drop(true);
            ctr.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = ctr.spawn()?;
            if let Some(mut input) = child.stdin.take() {
                // One that does not read it says why below.
                input.write_all(&image::archive(name)?).await.ok();
            }
            let output = child.wait_with_output().await?;
            if !output.status.success() {
                return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
            }
        }
        Ok(())
    }
}
