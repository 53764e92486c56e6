//! The traffic policy matrix: which set a client of the node and a client from outside get.

use super::*;

const LOCAL: &str = "10.0.0.1:8080";
const REMOTE: &str = "10.0.0.2:8080";

struct Row {
    internal: TrafficPolicy,
    external: TrafficPolicy,
    /// Nodes that run an endpoint.
    on: &'static [&'static str],
    cluster_ip: String,
    /// NodePort, load balancer and external IP.
    external_frontends: String,
    /// The other node's NodePort.
    peer: String,
}

fn rows() -> Vec<Row> {
    use TrafficPolicy::{Cluster, Local};
    let all = || format!("{LOCAL} {REMOTE} | {LOCAL} {REMOTE}");
    let remote = || format!("{REMOTE} | {REMOTE}");
    let local = || format!("{LOCAL} | {LOCAL}");
    let away = || "not served".to_owned();
    let reject = || "reject | reject".to_owned();
    // Clients of this node only.
    let inside = |set: &str| format!("{set} | leave");
    let row = |internal, external, on, cluster_ip, external_frontends, peer| Row {
        internal,
        external,
        on,
        cluster_ip,
        external_frontends,
        peer,
    };
    vec![
        row(Cluster, Cluster, &["a", "b"], all(), all(), inside(&format!("{LOCAL} {REMOTE}"))),
        row(Cluster, Cluster, &["b"], remote(), remote(), inside(REMOTE)),
        row(Cluster, Cluster, &[], reject(), reject(), inside("reject")),
        // S22: the external policy leaves cluster IPs alone; S25: clients of the node use all; S26; S28.
        row(Cluster, Local, &["a", "b"], all(), format!("{LOCAL} {REMOTE} | {LOCAL} keep-client"), away()),
        // S24: only others have endpoints; S25.
        row(Cluster, Local, &["b"], remote(), format!("{REMOTE} | drop keep-client"), away()),
        // S24: nobody has.
        row(Cluster, Local, &[], reject(), "reject | reject keep-client".into(), away()),
        // S22: the internal policy leaves the rest alone.
        row(Local, Cluster, &["a", "b"], local(), all(), inside(&format!("{LOCAL} {REMOTE}"))),
        // S23
        row(Local, Cluster, &["b"], "drop | drop".into(), remote(), inside(REMOTE)),
        // S23: the last endpoint is gone.
        row(Local, Cluster, &[], reject(), reject(), inside("reject")),
    ]
}

#[test]
fn every_frontend_gets_the_sets_that_its_policy_says() {
    // S22, S23, S24, S25, S26, S28
    for row in rows() {
        let mut service = web();
        service.internal_policy = row.internal;
        service.external_policy = row.external;
        let endpoints = row
            .on
            .iter()
            .map(|node| endpoint(if *node == "a" { "10.0.0.1" } else { "10.0.0.2" }, node, "ready"))
            .collect();
        let desired = on(vec![service], vec![slice("s", 8080, endpoints)]);
        let case = format!("{:?} {:?} endpoints on {:?}", row.internal, row.external, row.on);
        assert_eq!(shown(&desired, key(CLUSTER_IP, 80)), row.cluster_ip, "ClusterIP: {case}");
        for frontend in [key(NODE_IP, NODE_PORT), key(LB_IP, 80), key(EXTERNAL_IP, 80)] {
            assert_eq!(shown(&desired, frontend), row.external_frontends, "{frontend:?}: {case}");
        }
        assert_eq!(shown(&desired, key(PEER_IP, NODE_PORT)), row.peer, "other node: {case}");
    }
}

#[test]
fn external_policy_means_nothing_to_a_service_that_is_not_external() {
    // S9
    let mut service = web();
    service.service_type = ServiceType::ClusterIp;
    service.external_ips.clear();
    service.external_policy = TrafficPolicy::Local;
    let desired = on(vec![service], vec![slice("s", 8080, vec![endpoint("10.0.0.2", "b", "ready")])]);
    assert_eq!(desired.frontends.len(), 1);
    assert_eq!(shown(&desired, key(CLUSTER_IP, 80)), format!("{REMOTE} | {REMOTE}"));
}
