//! Clusters of any size.

use fairway_proto::control::{self as message, Protocol, Resource, resource};

fn service(number: u32) -> Resource {
    let [_, top, high, low] = number.to_be_bytes();
    let service = message::Service {
        namespace: "default".into(),
        name: format!("service-{number}"),
        r#type: message::service::Type::ClusterIp.into(),
        cluster_ips: vec![format!("10.{}.{high}.{low}", 96 + top)],
        ports: vec![message::ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp.into(),
            port: 80,
            node_port: 0,
        }],
        ..Default::default()
    };
    Resource { body: Some(resource::Body::Service(service)) }
}

/// The endpoints of one Service. Each `shift` gives one of them another address.
pub(crate) fn slice(service: u32, endpoints: u32, shift: u32) -> Resource {
    let endpoint = |number: u32| {
        let moved = if number == 0 { shift * 16 } else { 0 };
        let [_, high, middle, low] =
            (0x0080_0000 * u32::from(moved > 0) + service * 16 + number + moved).to_be_bytes();
        message::Endpoint {
            addresses: vec![format!("10.{high}.{middle}.{low}")],
            ready: true,
            serving: true,
            node: "b".into(),
            ..Default::default()
        }
    };
    let slice = message::EndpointSlice {
        namespace: "default".into(),
        name: format!("service-{service}-1"),
        service: format!("service-{service}"),
        ports: vec![message::EndpointPort {
            name: "http".into(),
            protocol: Protocol::Tcp.into(),
            port: 8080,
        }],
        endpoints: (0..endpoints).map(endpoint).collect(),
        last_change_trigger_time: 0,
    };
    Resource { body: Some(resource::Body::EndpointSlice(slice)) }
}

/// That many Services, each with that many endpoints.
pub(crate) fn all(services: u32, endpoints: u32) -> Vec<Resource> {
    (0..services).flat_map(|number| [service(number), slice(number, endpoints, 0)]).collect()
}
