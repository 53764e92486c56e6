//! What a newer control plane says and this version does not know.

use std::fmt;

use crate::control::{self, Protocol, resource, service};

/// Something that is left out of a resource that is otherwise taken. (Fields that are not known leave no trace.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unknown {
    /// The resource itself, of another kind.
    Kind,
    /// The type of a Service.
    ServiceType(i32),
    /// A traffic policy of a Service.
    TrafficPolicy(i32),
    /// The protocol of a port.
    Protocol(i32),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unknown::Kind => f.write_str("resources of a kind that is not known here do not count"),
            Unknown::ServiceType(number) => {
                write!(f, "Services of type {number}, which is not known here, are taken for ClusterIP")
            }
            Unknown::TrafficPolicy(number) => {
                write!(f, "traffic policy {number}, which is not known here, is taken for Cluster")
            }
            Unknown::Protocol(number) => {
                write!(f, "ports of protocol {number}, which is not known here, are not served")
            }
        }
    }
}

/// What of a resource is not known.
pub fn unknown(message: &control::Resource) -> Vec<Unknown> {
    match &message.body {
        None => vec![Unknown::Kind],
        Some(resource::Body::Service(it)) => {
            let policies = [it.internal_traffic_policy, it.external_traffic_policy];
            let policies = policies.into_iter().filter(|it| service::TrafficPolicy::try_from(*it).is_err());
            let kind = service::Type::try_from(it.r#type).is_err().then_some(Unknown::ServiceType(it.r#type));
            let ports = protocols(it.ports.iter().map(|port| port.protocol));
            kind.into_iter().chain(policies.map(Unknown::TrafficPolicy)).chain(ports).collect()
        }
        Some(resource::Body::EndpointSlice(it)) => {
            protocols(it.ports.iter().map(|port| port.protocol)).collect()
        }
        Some(resource::Body::Node(_)) => vec![],
    }
}

fn protocols(numbers: impl Iterator<Item = i32>) -> impl Iterator<Item = Unknown> {
    numbers.filter(|number| Protocol::try_from(*number).is_err()).map(Unknown::Protocol)
}
