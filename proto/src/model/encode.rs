//! Model to message.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{EndpointSlice, Node, Resource, ResourceKey, Service, ServiceType, TrafficPolicy};
use crate::control::{self, resource, resource_name::Kind, service};

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

impl From<&Resource> for control::Resource {
    fn from(resource: &Resource) -> Self {
        let body = match resource {
            Resource::Service(service) => resource::Body::Service(service.into()),
            Resource::EndpointSlice(slice) => resource::Body::EndpointSlice(slice.into()),
            Resource::Node(node) => resource::Body::Node(node.into()),
        };
        Self { body: Some(body) }
    }
}

impl From<&ResourceKey> for control::ResourceName {
    fn from(key: &ResourceKey) -> Self {
        let (kind, namespace, name) = match key {
            ResourceKey::Service(name) => {
                (Kind::Service, name.namespace().to_owned(), name.name().to_owned())
            }
            ResourceKey::EndpointSlice(name) => {
                (Kind::EndpointSlice, name.namespace().to_owned(), name.name().to_owned())
            }
            ResourceKey::Node(name) => (Kind::Node, String::new(), name.clone()),
        };
        Self { kind: kind.into(), namespace, name }
    }
}

fn policy(policy: TrafficPolicy) -> i32 {
    match policy {
        TrafficPolicy::Cluster => service::TrafficPolicy::Cluster.into(),
        TrafficPolicy::Local => service::TrafficPolicy::Local.into(),
    }
}

impl From<&Service> for control::Service {
    fn from(service: &Service) -> Self {
        let service_type = match service.service_type {
            ServiceType::ClusterIp => service::Type::ClusterIp,
            ServiceType::NodePort => service::Type::NodePort,
            ServiceType::LoadBalancer => service::Type::LoadBalancer,
            ServiceType::ExternalName => service::Type::ExternalName,
        };
        Self {
            namespace: service.name.namespace().to_owned(),
            name: service.name.name().to_owned(),
            r#type: service_type.into(),
            cluster_ips: texts(&service.cluster_ips),
            external_ips: texts(&service.external_ips),
            load_balancer_ips: texts(&service.load_balancer_ips),
            ports: service
                .ports
                .iter()
                .map(|port| control::ServicePort {
                    name: port.name.clone(),
                    protocol: port.protocol.into(),
                    port: port.port.into(),
                    node_port: port.node_port.unwrap_or(0).into(),
                })
                .collect(),
            internal_traffic_policy: policy(service.internal_policy),
            external_traffic_policy: policy(service.external_policy),
            health_check_node_port: service.health_check_node_port.unwrap_or(0).into(),
            affinity_seconds: service.affinity_seconds.unwrap_or(0),
            load_balancer_source_ranges: texts(&service.source_ranges),
            publish_not_ready_addresses: service.publish_not_ready,
            traffic_distribution: service.traffic_distribution.clone().unwrap_or_default(),
            annotations: service.annotations.clone(),
        }
    }
}

impl From<&EndpointSlice> for control::EndpointSlice {
    fn from(slice: &EndpointSlice) -> Self {
        Self {
            namespace: slice.name.namespace().to_owned(),
            name: slice.name.name().to_owned(),
            service: slice.service.name().to_owned(),
            ports: slice
                .ports
                .iter()
                .map(|port| control::EndpointPort {
                    name: port.name.clone(),
                    protocol: port.protocol.into(),
                    port: port.port.into(),
                })
                .collect(),
            endpoints: slice
                .endpoints
                .iter()
                .map(|endpoint| control::Endpoint {
                    addresses: vec![endpoint.address.to_string()],
                    ready: endpoint.ready,
                    serving: endpoint.serving,
                    terminating: endpoint.terminating,
                    node: endpoint.node.as_deref().unwrap_or_default().to_owned(),
                    zone: endpoint.zone.as_deref().unwrap_or_default().to_owned(),
                    hint_zones: endpoint.hint_zones.to_vec(),
                    hint_nodes: endpoint.hint_nodes.to_vec(),
                    pod: endpoint.pod.as_ref().map(ToString::to_string).unwrap_or_default(),
                })
                .collect(),
            last_change_trigger_time: slice.last_change.map_or(0, nanoseconds),
        }
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl From<&Node> for control::Node {
    fn from(node: &Node) -> Self {
        Self {
            name: node.name.clone(),
            addresses: texts(&node.addresses),
            pod_cidrs: texts(&node.pod_cidrs),
            zone: node.zone.clone().unwrap_or_default(),
            object: node.object.as_ref().map(|object| control::NodeObject {
                deleting: object.deleting,
                taints: object.taints.clone(),
            }),
        }
    }
}
