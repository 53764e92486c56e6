//! What a container runtime adds to the network configuration of a pod: ports of the node, and limits of bandwidth.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// `runtimeConfig` as containerd makes it of the pod; null when it has nothing to say.
pub(super) fn of(pod: &Pod) -> Value {
    let mut config = json!({});
    let ports = ports(pod);
    if !ports.is_empty() {
        config["portMappings"] = ports.into();
    }
    let annotation = |name| pod.metadata.annotations.as_ref()?.get(name).and_then(|text| bits(text));
    let [ingress, egress] =
        ["kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"].map(annotation);
    if ingress.or(egress).is_some() {
        // Without an annotation both are 0; an annotation has no burst, and containerd writes this.
        let burst = |rate: Option<u64>| if rate.is_some() { u32::MAX } else { 0 };
        config["bandwidth"] = json!({
            "ingressRate": ingress.unwrap_or_default(), "ingressBurst": burst(ingress),
            "egressRate": egress.unwrap_or_default(), "egressBurst": burst(egress),
        });
    }
    if config == json!({}) { Value::Null } else { config }
}

fn ports(pod: &Pod) -> Vec<Value> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let mapping = |port: &k8s_openapi::api::core::v1::ContainerPort| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
        let address = port.host_ip.clone().unwrap_or_default();
        Some(json!({
            "hostPort": port.host_port.filter(|port| *port > 0)?, "containerPort": port.container_port,
            "protocol": protocol, "hostIP": address,
        }))
    };
    ports.filter_map(mapping).collect()
}

/// A whole quantity of Kubernetes.
fn bits(text: &str) -> Option<u64> {
    let units = [("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("Ki", 1 << 10), ("Mi", 1 << 20)];
    let unit = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = unit.unwrap_or((text, &1));
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_limits_are_written_as_containerd_writes_them() {
        let pod = json!({
            "metadata": {"name": "web", "annotations": {"kubernetes.io/ingress-bandwidth": "20M"}},
            "spec": {"containers": [{"name": "a", "ports": [
                {"containerPort": 80},
                {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1"},
            ]}]},
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let wanted = json!({
            "portMappings": [
                {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.1"},
            ],
            "bandwidth": {
                "ingressRate": 20_000_000, "ingressBurst": u32::MAX, "egressRate": 0, "egressBurst": 0,
            },
        });
        assert_eq!(of(&pod), wanted);
        assert_eq!(of(&Pod::default()), Value::Null);
        assert_eq!(
            ["5", "10k", "2Mi", "x", "1.5M"].map(bits),
            [Some(5), Some(10_000), Some(2 << 20), None, None]
        );
    }
}
