//! The pods that suites ask: each answers with its name.

/// Where they answer, over TCP and UDP.
pub const SERVER_PORT: u16 = 8080;

/// Ready when they answer.
pub const SERVER_PROBE: &str = "tcpSocket: {port: 8080}";

/// The manifest of a pod with a server. `labels` are YAML of a flow mapping without its braces, as in `app: web`.
#[must_use]
pub fn server_pod(name: &str, node: &str, labels: &str) -> String {
    server_pod_with(name, node, labels, "", SERVER_PROBE)
}

/// As [`server_pod`], with a line of the pod's spec and another readiness probe, both YAML too. The text ends within the
/// container, so that a line may follow that says more of it.
#[must_use]
pub fn server_pod_with(name: &str, node: &str, labels: &str, spec: &str, probe: &str) -> String {
    format!(
        r#"---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{{labels}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  {spec}
  containers:
    - name: server
      image: fairway-lab
      command: [fairway-lab, serve, --name, {name}, --tcp, "{SERVER_PORT}", --udp, "{SERVER_PORT}"]
      readinessProbe: {{{probe}, periodSeconds: 1, failureThreshold: 1}}
"#
    )
}
