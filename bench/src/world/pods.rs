//! The pods of a world.

use std::io;

use serde_json::{Value, json};

use super::Settings;
use crate::services::{PODS, TARGET_PORT};

/// The pod that asks.
pub(super) const CLIENT: &str = "bench/client";

/// Pods that serve, on both nodes, and the one that asks.
pub(super) fn manifests(settings: &Settings) -> io::Result<String> {
    let mut all = vec![pod("client", "node1", &["sleep".into(), "infinity".into()])];
    for (node, number) in ["node1", "node2"].into_iter().flat_map(|node| (1..=PODS).map(move |n| (node, n))) {
        let mut words: Vec<String> =
            ["fairway-bench", "serve", "--addresses", "$(IPS)"].map(Into::into).into();
        words.extend(["--port".into(), TARGET_PORT.to_string()]);
        words.extend(["--ports".into(), settings.ports.to_string()]);
        // A web server closes first. Where an address is translated, the client's next connection from that port may bring older
        // time stamps than the one in TIME_WAIT: it is refused, and tries again after 10 ms.
        words.push("--no-time-wait".into());
        words.extend(settings.nice.iter().flat_map(|nice| ["--nice".into(), nice.to_string()]));
        all.push(pod(&format!("serve-{node}-{number}"), node, &words));
    }
    let documents: Result<Vec<String>, _> = all.iter().map(serde_json::to_string_pretty).collect();
    Ok(documents?.join("\n---\n"))
}

fn pod(name: &str, node: &str, command: &[String]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "bench"},
        "spec": {
            "nodeName": node,
            "containers": [{
                "name": "main", "command": command,
                "env": [{"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}}],
            }],
        },
    })
}
