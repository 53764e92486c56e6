//! Message to model: everything that comes over the wire is checked here, once.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use super::{
    Endpoint, EndpointPort, EndpointSlice, Node, NodeObject, ObjectName, Protocol, Resource, ResourceKey,
    Service, ServicePort, ServiceType, TrafficPolicy,
};
use crate::control::{self, resource, resource_name::Kind, service};

/// A message that breaks the contract.
#[derive(Debug, thiserror::Error)]
pub enum InvalidResource {
    /// No body, or one that this version does not know.
    #[error("resource without a known body")]
    NoBody,
    /// A name is missing.
    #[error("{kind} without a name")]
    NoName {
        /// The kind.
        kind: &'static str,
    },
    /// A field does not parse.
    #[error("{kind} `{name}`: {field}: `{value}` is not {expected}")]
    Field {
        /// The kind.
        kind: &'static str,
        /// The object's name.
        name: String,
        /// The field as the .proto file names it.
        field: &'static str,
        /// The value as it came.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// What a response asks for: a resource in its new form, or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Added or replaced.
    Insert(Resource),
    /// Removed.
    Remove(ResourceKey),
}

/// The object being decoded: names the place of an error.
struct Place<'a> {
    kind: &'static str,
    name: &'a str,
}

impl Place<'_> {
    fn error(&self, field: &'static str, value: impl ToString, expected: &'static str) -> InvalidResource {
        InvalidResource::Field {
            kind: self.kind,
            name: self.name.to_owned(),
            field,
            value: value.to_string(),
            expected,
        }
    }

    fn parse<T: FromStr>(
        &self,
        field: &'static str,
        text: &str,
        expected: &'static str,
    ) -> Result<T, InvalidResource> {
        text.parse().map_err(|_| self.error(field, text, expected))
    }

    fn parse_all<T: FromStr>(
        &self,
        field: &'static str,
        texts: &[String],
        expected: &'static str,
    ) -> Result<Vec<T>, InvalidResource> {
        exactly(texts.iter().map(|text| self.parse(field, text, expected)))
    }

    fn port(&self, field: &'static str, port: u32) -> Result<u16, InvalidResource> {
        u16::try_from(port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| self.error(field, port, "a port, 1 to 65535"))
    }

    fn optional_port(&self, field: &'static str, port: u32) -> Result<Option<u16>, InvalidResource> {
        if port == 0 { Ok(None) } else { self.port(field, port).map(Some) }
    }

    /// None: a protocol that this version does not know.
    fn protocol(&self, field: &'static str, number: i32) -> Result<Option<Protocol>, InvalidResource> {
        match Protocol::try_from(number) {
            Ok(Protocol::Unspecified) => Err(self.error(field, number, "TCP, UDP or SCTP")),
            Ok(protocol) => Ok(Some(protocol)),
            Err(_) => Ok(None),
        }
    }

    /// One that this version does not know is served as far as any Service is.
    fn service_type(&self, number: i32) -> Result<ServiceType, InvalidResource> {
        match service::Type::try_from(number) {
            Ok(service::Type::Unspecified) => Err(self.error("type", number, "a Service type")),
            Ok(service::Type::ClusterIp) | Err(_) => Ok(ServiceType::ClusterIp),
            Ok(service::Type::NodePort) => Ok(ServiceType::NodePort),
            Ok(service::Type::LoadBalancer) => Ok(ServiceType::LoadBalancer),
            Ok(service::Type::ExternalName) => Ok(ServiceType::ExternalName),
        }
    }
}

fn policy(number: i32) -> TrafficPolicy {
    match service::TrafficPolicy::try_from(number) {
        Ok(service::TrafficPolicy::Local) => TrafficPolicy::Local,
        Ok(service::TrafficPolicy::Unspecified | service::TrafficPolicy::Cluster) | Err(_) => {
            TrafficPolicy::Cluster
        }
    }
}

const ADDRESS: &str = "an IP address";
const CIDR: &str = "a CIDR";

fn object_name(kind: &'static str, namespace: &str, name: &str) -> Result<ObjectName, InvalidResource> {
    if namespace.is_empty() || name.is_empty() {
        return Err(InvalidResource::NoName { kind });
    }
    Ok(ObjectName::new(namespace, name))
}

/// What is kept for long has no room to spare.
fn exactly<T, E>(items: impl Iterator<Item = Result<T, E>>) -> Result<Vec<T>, E> {
    let mut all = items.collect::<Result<Vec<T>, E>>()?;
    all.shrink_to_fit();
    Ok(all)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl TryFrom<&control::Resource> for Resource {
    type Error = InvalidResource;

    fn try_from(message: &control::Resource) -> Result<Self, Self::Error> {
        match message.body.as_ref().ok_or(InvalidResource::NoBody)? {
            resource::Body::Service(service) => service.try_into().map(Resource::Service),
            resource::Body::EndpointSlice(slice) => slice.try_into().map(Resource::EndpointSlice),
            resource::Body::Node(node) => node.try_into().map(Resource::Node),
        }
    }
}

impl TryFrom<&control::ResourceName> for ResourceKey {
    type Error = InvalidResource;

    fn try_from(message: &control::ResourceName) -> Result<Self, Self::Error> {
        match message.kind() {
            Kind::Unspecified => Err(InvalidResource::NoBody),
            Kind::Service => {
                object_name("Service", &message.namespace, &message.name).map(ResourceKey::Service)
            }
            Kind::EndpointSlice => object_name("EndpointSlice", &message.namespace, &message.name)
                .map(ResourceKey::EndpointSlice),
            Kind::Node => {
                some(&message.name).map(ResourceKey::Node).ok_or(InvalidResource::NoName { kind: "Node" })
            }
        }
    }
}

impl TryFrom<&control::Service> for Service {
    type Error = InvalidResource;

    fn try_from(message: &control::Service) -> Result<Self, Self::Error> {
        let name = object_name("Service", &message.namespace, &message.name)?;
        let text = name.to_string();
        let place = Place { kind: "Service", name: &text };
        let ports = exactly(message.ports.iter().filter_map(|port| {
            let protocol = place.protocol("ports.protocol", port.protocol).transpose()?;
            Some(protocol.and_then(|protocol| {
                Ok(ServicePort {
                    name: port.name.clone(),
                    protocol,
                    port: place.port("ports.port", port.port)?,
                    node_port: place.optional_port("ports.node_port", port.node_port)?,
                })
            }))
        }))?;
        Ok(Self {
            service_type: place.service_type(message.r#type)?,
            cluster_ips: place.parse_all("cluster_ips", &message.cluster_ips, ADDRESS)?,
            external_ips: place.parse_all("external_ips", &message.external_ips, ADDRESS)?,
            load_balancer_ips: place.parse_all("load_balancer_ips", &message.load_balancer_ips, ADDRESS)?,
            ports,
            internal_policy: policy(message.internal_traffic_policy),
            external_policy: policy(message.external_traffic_policy),
            health_check_node_port: place
                .optional_port("health_check_node_port", message.health_check_node_port)?,
            affinity_seconds: (message.affinity_seconds != 0).then_some(message.affinity_seconds),
            source_ranges: place.parse_all(
                "load_balancer_source_ranges",
                &message.load_balancer_source_ranges,
                CIDR,
            )?,
            publish_not_ready: message.publish_not_ready_addresses,
            traffic_distribution: some(&message.traffic_distribution),
            annotations: message.annotations.clone(),
            name,
        })
    }
}

impl TryFrom<&control::EndpointSlice> for EndpointSlice {
    type Error = InvalidResource;

    fn try_from(message: &control::EndpointSlice) -> Result<Self, Self::Error> {
        let name = object_name("EndpointSlice", &message.namespace, &message.name)?;
        let text = name.to_string();
        let place = Place { kind: "EndpointSlice", name: &text };
        let ports = exactly(message.ports.iter().filter_map(|port| {
            let protocol = place.protocol("ports.protocol", port.protocol).transpose()?;
            Some(protocol.and_then(|protocol| {
                Ok(EndpointPort {
                    name: port.name.clone(),
                    protocol,
                    port: place.port("ports.port", port.port)?,
                })
            }))
        }))?;
        let endpoints = exactly(message.endpoints.iter().map(|endpoint| {
            // All addresses of an endpoint name the same pod: one is enough (Kubernetes API, Endpoint.addresses).
            let first = endpoint.addresses.first().map(String::as_str).unwrap_or_default();
            Ok(Endpoint {
                address: place.parse::<IpAddr>("endpoints.addresses", first, ADDRESS)?,
                ready: endpoint.ready,
                serving: endpoint.serving,
                terminating: endpoint.terminating,
                node: some(&endpoint.node).map(String::into_boxed_str),
                zone: some(&endpoint.zone).map(String::into_boxed_str),
                hint_zones: endpoint.hint_zones.clone().into(),
                hint_nodes: endpoint.hint_nodes.clone().into(),
                pod: endpoint.pod.split_once('/').map(|(namespace, name)| ObjectName::new(namespace, name)),
            })
        }))?;
        Ok(Self {
            service: object_name("EndpointSlice", &message.namespace, &message.service)?,
            ports,
            endpoints,
            last_change: (message.last_change_trigger_time != 0)
                .then(|| UNIX_EPOCH + Duration::from_nanos(message.last_change_trigger_time)),
            name,
        })
    }
}

impl TryFrom<&control::Node> for Node {
    type Error = InvalidResource;

    fn try_from(message: &control::Node) -> Result<Self, Self::Error> {
        let place = Place { kind: "Node", name: &message.name };
        Ok(Self {
            name: some(&message.name).ok_or(InvalidResource::NoName { kind: "Node" })?,
            addresses: place.parse_all("addresses", &message.addresses, ADDRESS)?,
            pod_cidrs: place.parse_all("pod_cidrs", &message.pod_cidrs, CIDR)?,
            zone: some(&message.zone),
            object: message
                .object
                .as_ref()
                .map(|object| NodeObject { deleting: object.deleting, taints: object.taints.clone() }),
        })
    }
}
