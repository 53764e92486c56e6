use std::sync::Arc;

use fairway_proto::model::{
    Cluster, Endpoint, EndpointPort, EndpointSlice, ObjectName, Protocol, Resource, Service, ServicePort,
    ServiceType,
};
use imbl::OrdMap;

use super::*;
use crate::resolve::Desired;

fn endpoint(last: u8, ready: bool) -> Endpoint {
    Endpoint {
        address: [10, 0, 0, last].into(),
        ready,
        serving: true,
        terminating: !ready,
        node: Some("n1".into()),
        zone: None,
        hint_zones: Box::default(),
        hint_nodes: Box::default(),
        pod: Some(ObjectName::new("default", format!("web-{last}"))),
    }
}

fn state() -> SyncState {
    let name = ObjectName::new("default", "web");
    let port = EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 };
    let service = Service {
        name: name.clone(),
        service_type: ServiceType::NodePort,
        cluster_ips: vec![[10, 96, 0, 1].into()],
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080),
        }],
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Local,
        health_check_node_port: None,
        affinity_seconds: None,
        source_ranges: Vec::new(),
        publish_not_ready: false,
        traffic_distribution: None,
        annotations: BTreeMap::new(),
    };
    let slice = EndpointSlice {
        name: ObjectName::new("default", "web-x"),
        service: name.clone(),
        ports: vec![port],
        endpoints: vec![endpoint(2, true), endpoint(3, false)],
        last_change: None,
    };
    let mut cluster = Cluster::default();
    cluster.insert(Resource::Service(service));
    cluster.insert(Resource::EndpointSlice(slice));
    let name = ServicePortName { service: name, port: "http".into(), protocol: 6 };
    let backend = |last, flags| BackendRef { address: [10, 0, 0, last].into(), port: 8080, flags };
    let all: Arc<[BackendRef]> = Arc::new([backend(2, backend_flags::LOCAL), backend(3, 0)]);
    let frontend = |kind, outside: Arc<[BackendRef]>, flags| DesiredFrontend {
        name: name.clone(),
        kind,
        inside: all.clone(),
        outside,
        flags,
        affinity: 0,
        total_endpoints: 2,
    };
    let local: Arc<[BackendRef]> = Arc::new([backend(2, backend_flags::LOCAL)]);
    let flags = Frontend::OUTSIDE_DROPS | Frontend::KEEP_CLIENT;
    let key = |address: [u8; 4], port| FrontendKey { address: address.into(), protocol: 6, port };
    let frontends = [
        (key([192, 168, 0, 1], 30080), frontend(FrontendKind::NodePort, local, flags)),
        (key([10, 96, 0, 1], 80), frontend(FrontendKind::ClusterIp, all.clone(), 0)),
    ];
    SyncState {
        cluster: Arc::new(cluster),
        desired: Arc::new(Desired { frontends: frontends.into_iter().collect(), ..Desired::default() }),
        service_ids: OrdMap::unit(name, 12),
        backend_ids: OrdMap::unit((12, [10, 0, 0, 2].into(), 8080), 7),
        ..SyncState::default()
    }
}

#[test]
fn each_address_of_a_service_is_listed_with_the_policy_that_holds_for_it() {
    let rows = frontends(&state());
    let lines: Vec<_> =
        rows.iter().map(|row| (row.address.as_str(), row.r#type.as_str(), row.policy.as_str())).collect();
    assert_eq!(lines, [("10.96.0.1", "ClusterIP", "Cluster"), ("192.168.0.1", "NodePort", "Local")]);
    assert_eq!((rows[1].inside_when_empty.as_str(), rows[1].outside_when_empty.as_str()), ("reject", "drop"));
    assert_eq!((rows[1].inside.len(), rows[1].outside.len(), rows[1].id), (2, 1, 12));
    assert!(rows[1].keep_client && !rows[0].keep_client);
}

#[test]
fn a_backend_is_listed_with_node_pod_state_and_services() {
    let rows = backends(&state());
    assert_eq!(rows.len(), 2);
    let first = &rows[0];
    assert_eq!(
        (first.node.as_str(), first.pod.as_str(), first.state.as_str()),
        ("n1", "default/web-2", "ready")
    );
    assert_eq!((first.id, first.local, &first.services), (7, true, &vec!["default/web:http".to_owned()]));
    assert_eq!((rows[1].state.as_str(), rows[1].local), ("terminating", false));
}
