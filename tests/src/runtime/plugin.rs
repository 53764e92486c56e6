//! Calls the CNI plugin as a container runtime does: environment, configuration on stdin, result on stdout.

use std::net::IpAddr;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::lab::{Netns, State, binaries, command};

/// A call of the plugin.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The lab.
    pub state: &'a State,
    /// The node that it is called on.
    pub node: &'a str,
    /// ADD, DEL, CHECK or GC.
    pub command: &'static str,
    /// The runtime's name for the sandbox.
    pub container_id: &'a str,
    /// The pod's network namespace.
    pub netns: Netns,
    /// `NAMESPACE/NAME`.
    pub pod: &'a str,
    /// What the configuration says besides: the result of the ADD, or which pods there are.
    pub more: Vec<(&'static str, Value)>,
}

/// Calls the plugin; its result, which is null where there is none.
///
/// # Errors
/// What the plugin says, or why it does not start.
pub async fn call(call: &Call<'_>) -> Result<Value, String> {
    let output = output(call).await.map_err(|error| format!("fairway-cni: {error}"))?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if output.status.success() {
        return Ok(answer);
    }
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("fairway-cni {}: {} {} {stderr}", call.command, text("msg"), text("details")))
}

/// The pod's addresses in the result of an ADD.
#[must_use]
pub fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result.get("ips").and_then(Value::as_array).into_iter().flatten();
    ips.filter_map(|ip| ip.get("address")?.as_str()?.split('/').next()?.parse().ok()).collect()
}

async fn output(call: &Call<'_>) -> std::io::Result<Output> {
    let (namespace, name) = call.pod.split_once('/').unwrap_or(("default", call.pod));
    let id = call.container_id;
    let arguments = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={id}"
    );
    // GC came with 1.1.0.
    let version = if call.command == "GC" { "1.1.0" } else { "1.0.0" };
    let mut config = json!({
        "cniVersion": version, "name": "fairway", "type": "fairway-cni",
        "socket": call.state.agent_socket(call.node),
        "deletions": call.state.deletions(call.node),
    });
    for (key, value) in &call.more {
        config[*key] = value.clone();
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
