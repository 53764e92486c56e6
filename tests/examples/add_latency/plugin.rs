//! A plugin to measure.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, ensure};
use fairway_tests::lab::{Netns, State};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::micros;

/// Where Debian puts CNI plugins.
const DEBIAN: &str = "/usr/lib/cni";

/// A plugin and its configuration.
pub(crate) struct Plugin {
    pub(crate) name: &'static str,
    program: PathBuf,
    config: Value,
}

impl Plugin {
    /// Fairway's, with the agent of the lab's node.
    pub(crate) fn fairway(state: &State) -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").context("there is no PATH")?;
        let mut programs = std::env::split_paths(&path).map(|directory| directory.join("fairway-cni"));
        let program = programs.find(|program| program.exists()).context("`fairway-cni` is not built")?;
        let config = json!({
            "cniVersion": "1.0.0", "name": "fairway", "type": "fairway-cni", "socket": state.agent_socket("node1"), "deletions": state.deletions("node1"),
        });
        Ok(Self { name: "fairway-cni", program, config })
    }

    /// Debian's.
    pub(crate) fn ptp(state: &State) -> Self {
        let config = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "ptp", "ipMasq": false,
            "ipam": {
                "type": "host-local", "dataDir": state.directory().join("host-local"),
                "ranges": [[{ "subnet": "10.245.0.0/16" }], [{ "subnet": "fd00:10:245::/64" }]],
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
            },
        });
        Self { name: "ptp, host-local", program: PathBuf::from(DEBIAN).join("ptp"), config }
    }

    /// Calls it; how long that took, in microseconds.
    pub(crate) async fn call(&self, what: &str, id: &str, netns: &Netns) -> anyhow::Result<u64> {
        let mut command = Command::new(&self.program);
        command.env("CNI_COMMAND", what).env("CNI_CONTAINERID", id).env("CNI_IFNAME", "eth0");
        command.env("CNI_NETNS", netns.path()).env("CNI_PATH", DEBIAN);
        command.env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={id}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let config = self.config.to_string();
        let start = Instant::now();
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(config.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        let taken = micros(start);
        ensure!(output.status.success(), "{} {what}: {}", self.name, String::from_utf8_lossy(&output.stdout));
        Ok(taken)
    }
}
