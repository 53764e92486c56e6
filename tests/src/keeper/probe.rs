//! Readiness probes, made from the node as a kubelet makes them.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::process::Command;

use super::pod::Sandbox;
use crate::lab::{Netns, Place, command};
use crate::traffic::http_status;

/// How often a container that is not ready is asked, unless its period is shorter.
const EAGER: Duration = Duration::from_millis(100);

/// What a probe needs to know of the pod.
pub(super) struct Target {
    pub(super) address: Option<IpAddr>,
    pub(super) node: Netns,
    pub(super) place: Place,
}

/// Asks until aborted, and keeps the container's readiness.
pub(super) async fn watch(pod: Arc<Sandbox>, index: usize, container: Container) {
    let Some(probe) = &container.readiness_probe else { return pod.set_ready(index, true) };
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(value.and_then(|value| value.try_into().ok()).unwrap_or(default))
    };
    let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
    let timeout = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let (mut ready, mut failures, mut successes) = (false, 0, 0);
    loop {
        let checked = tokio::time::timeout(timeout, check(&pod.probed(), probe, &container, timeout)).await;
        let passed = matches!(checked, Ok(Ok(())));
        (successes, failures) = if passed { (successes + 1, 0) } else { (0, failures + 1) };
        if ready && failures >= probe.failure_threshold.unwrap_or(3) {
            ready = false;
        } else if !ready && successes >= probe.success_threshold.unwrap_or(1) {
            ready = true;
        }
        pod.set_ready(index, ready);
        tokio::time::sleep(if ready { period } else { EAGER.min(period) }).await;
    }
}

async fn check(target: &Target, probe: &Probe, container: &Container, timeout: Duration) -> io::Result<()> {
    if let Some(exec) = &probe.exec {
        let words = exec.command.clone().unwrap_or_default();
        let (program, arguments) = words.split_first().ok_or_else(|| io::Error::other("no command"))?;
        let mut command = Command::from(command(&target.place, program)?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.kill_on_drop(true).status().await?;
        return if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) };
    }
    let (port, path) = match (&probe.tcp_socket, &probe.http_get) {
        (Some(tcp), _) => (&tcp.port, None),
        (None, Some(http)) => (&http.port, Some(http.path.clone().unwrap_or_else(|| "/".into()))),
        (None, None) => return Err(io::Error::other("a lab knows exec, tcpSocket and httpGet probes")),
    };
    let address = target.address.ok_or_else(|| io::Error::other("no address yet"))?;
    let to = SocketAddr::new(address, number(port, container)?);
    let node = target.node.clone();
    let asked = move || node.within(|| ask(to, path.as_deref(), timeout));
    tokio::task::spawn_blocking(asked).await.map_err(io::Error::other)?
}

fn ask(to: SocketAddr, path: Option<&str>, timeout: Duration) -> io::Result<()> {
    let Some(path) = path else { return TcpStream::connect_timeout(&to, timeout).map(drop) };
    match http_status(to, path, timeout)? {
        200..400 => Ok(()),
        status => Err(io::Error::other(format!("HTTP status {status}"))),
    }
}

fn number(port: &IntOrString, container: &Container) -> io::Result<u16> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            ports.find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port)
        }
    };
    let number = number.and_then(|number| number.try_into().ok());
    number.ok_or_else(|| io::Error::other(format!("no port {port:?} in container `{}`", container.name)))
}
