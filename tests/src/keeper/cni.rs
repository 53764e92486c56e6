//! Calls the CNI plugin as a container runtime does: environment, configuration on stdin, result on stdout.

use std::net::IpAddr;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::lab::{Netns, State, binaries, command};

/// A call of the plugin.
pub(super) struct Call<'a> {
    pub(super) state: &'a State,
    pub(super) node: &'a str,
    pub(super) command: &'static str,
    pub(super) container_id: &'a str,
    pub(super) netns: Netns,
    /// `NAMESPACE/NAME`.
    pub(super) pod: &'a str,
    /// `runtimeConfig`; null: none.
    pub(super) asks: &'a Value,
}

/// Calls the plugin; the pod's addresses, of an ADD.
pub(super) async fn call(call: Call<'_>) -> Result<Vec<IpAddr>, String> {
    let output = output(&call).await.map_err(|error| format!("fairway-cni: {error}"))?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if !output.status.success() {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("fairway-cni {}: {} {} {stderr}", call.command, text("msg"), text("details")));
    }
    let ips = answer.get("ips").and_then(Value::as_array).into_iter().flatten();
    let addresses = ips.filter_map(|ip| ip.get("address")?.as_str()?.split('/').next()?.parse().ok());
    Ok(addresses.collect())
}

async fn output(call: &Call<'_>) -> std::io::Result<std::process::Output> {
    let (namespace, name) = call.pod.split_once('/').unwrap_or(("default", call.pod));
    let id = call.container_id;
    let arguments = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={id}"
    );
    let mut config = json!({
        "cniVersion": "1.0.0", "name": "fairway", "type": "fairway-cni",
        "socket": call.state.agent_socket(call.node),
    });
    if !call.asks.is_null() {
        config["runtimeConfig"] = call.asks.clone();
    }
    let mut command = Command::from(command(&call.state.place(call.node), "fairway-cni")?);
    command.env("CNI_COMMAND", call.command).env("CNI_CONTAINERID", id).env("CNI_IFNAME", "eth0");
    command.env("CNI_NETNS", call.netns.path()).env("CNI_ARGS", arguments).env("CNI_PATH", binaries()?);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A plugin that does not read it says by its exit code what is wrong.
        input.write_all(config.to_string().as_bytes()).await.ok();
    }
    child.wait_with_output().await
}
