use super::*;
use crate::control;

fn service() -> Service {
    Service {
        name: ObjectName::new("default", "web"),
        service_type: ServiceType::NodePort,
        cluster_ips: vec!["10.96.0.10".parse().unwrap(), "fd00:10:96::a".parse().unwrap()],
        external_ips: vec![],
        load_balancer_ips: vec![],
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
        source_ranges: vec!["203.0.113.0/25".parse().unwrap()],
        publish_not_ready: false,
        traffic_distribution: None,
        annotations: BTreeMap::new(),
    }
}

#[test]
fn a_service_survives_the_wire() {
    let resource = Resource::Service(service());
    let message = control::Resource::from(&resource);
    assert_eq!(Resource::try_from(&message).unwrap(), resource);
}

#[test]
fn a_bad_address_is_refused_by_object_and_field() {
    let mut message = control::Service::from(&service());
    message.cluster_ips[0] = "10.96.0.300".into();
    let error = Service::try_from(&message).unwrap_err();
    assert_eq!(error.to_string(), "Service `default/web`: cluster_ips: `10.96.0.300` is not an IP address");
}

#[test]
fn port_zero_is_refused() {
    let mut message = control::Service::from(&service());
    message.ports[0].port = 0;
    let error = Service::try_from(&message).unwrap_err();
    assert_eq!(error.to_string(), "Service `default/web`: ports.port: `0` is not a port, 1 to 65535");
}

#[test]
fn a_node_object_and_the_time_of_a_change_survive_the_wire() {
    let object = NodeObject { deleting: true, taints: vec!["ToBeDeletedByClusterAutoscaler".into()] };
    for object in [None, Some(NodeObject::default()), Some(object)] {
        let node = Node { name: "n1".into(), addresses: vec![], pod_cidrs: vec![], zone: None, object };
        let node = Resource::Node(node);
        assert_eq!(Resource::try_from(&control::Resource::from(&node)).unwrap(), node);
    }
    let written = std::time::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 123_456_789);
    for last_change in [None, Some(written)] {
        let slice = Resource::EndpointSlice(EndpointSlice {
            name: ObjectName::new("default", "web-1"),
            service: ObjectName::new("default", "web"),
            ports: vec![],
            endpoints: vec![],
            last_change,
        });
        assert_eq!(Resource::try_from(&control::Resource::from(&slice)).unwrap(), slice);
    }
}

#[test]
fn what_is_not_known_is_named_and_left_out_and_the_rest_counts() {
    let mut message = control::Service::from(&service());
    message.r#type = 9;
    message.internal_traffic_policy = 5;
    message.ports.push(control::ServicePort {
        name: "quic".into(),
        protocol: 254,
        port: 81,
        ..Default::default()
    });
    let served = Service { service_type: ServiceType::ClusterIp, ..service() };
    assert_eq!(Service::try_from(&message).unwrap(), served);
    let named = unknown(&control::Resource { body: Some(control::resource::Body::Service(message)) });
    assert_eq!(named, [Unknown::ServiceType(9), Unknown::TrafficPolicy(5), Unknown::Protocol(254)]);
    assert_eq!(unknown(&control::Resource { body: None }), [Unknown::Kind]);
    assert_eq!(unknown(&control::Resource::from(&Resource::Service(service()))), []);
}

#[test]
fn what_must_be_set_and_is_not_is_refused() {
    for field in ["type", "ports.protocol"] {
        let mut message = control::Service::from(&service());
        match field {
            "type" => message.r#type = 0,
            _ => message.ports[0].protocol = 0,
        }
        let error = Service::try_from(&message).unwrap_err().to_string();
        assert!(error.starts_with(&format!("Service `default/web`: {field}: `0` is not")), "{error}");
    }
}

#[test]
fn equal_resources_are_encoded_as_equal_bytes() {
    use prost::Message;
    let notes = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
    let one = Service { annotations: notes(&["a", "b", "c", "d"]), ..service() };
    let other = Service { annotations: notes(&["d", "c", "b", "a"]), ..service() };
    let bytes = |service: &Service| control::Service::from(service).encode_to_vec();
    assert_eq!(bytes(&one), bytes(&other));
}
