//! EndpointSlices of Services that select pods, as Kubernetes' controller makes them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A pod that may be behind a Service, with how it is now.
#[derive(Clone, Debug, Default)]
pub struct Backing {
    /// As declared; of it count namespace, labels, node and ports.
    pub pod: Pod,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its probes pass.
    pub ready: bool,
    /// It is on its way out.
    pub terminating: bool,
}

/// The slices of all Services with a selector: one for each pod and family.
#[must_use]
pub fn of_selectors(services: &[Service], pods: &[Backing]) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty()) else { continue };
        for backing in pods.iter().filter(|backing| selects(service, selector, &backing.pod)) {
            let ports = spec.ports.iter().flatten().map(|port| endpoint_port(port, &backing.pod));
            let ports: Vec<EndpointPort> = ports.collect();
            slices.extend(backing.addresses.iter().map(|address| slice(service, backing, *address, &ports)));
        }
    }
    slices
}

fn selects(service: &Service, selector: &BTreeMap<String, String>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let namespace = |meta: &ObjectMeta| meta.namespace.clone().unwrap_or_else(|| "default".into());
    namespace(&service.metadata) == namespace(&pod.metadata)
        && selector.iter().all(|(label, value)| labels.get(label) == Some(value))
}

fn endpoint_port(port: &ServicePort, pod: &Pod) -> EndpointPort {
    let number = match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports.find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port)
        }
    };
    EndpointPort {
        app_protocol: None,
        name: port.name.clone(),
        port: number,
        protocol: port.protocol.clone(),
    }
}

fn slice(service: &Service, backing: &Backing, address: IpAddr, ports: &[EndpointPort]) -> EndpointSlice {
    let name = service.metadata.name.clone().unwrap_or_default();
    let conditions = EndpointConditions {
        ready: Some(backing.ready && !backing.terminating),
        serving: Some(backing.ready),
        terminating: Some(backing.terminating),
    };
    let endpoint = Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(conditions),
        node_name: backing.pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        ..Endpoint::default()
    };
    let labels = BTreeMap::from([("kubernetes.io/service-name".to_owned(), name)]);
    EndpointSlice {
        address_type: if address.is_ipv4() { "IPv4" } else { "IPv6" }.into(),
        endpoints: vec![endpoint],
        metadata: ObjectMeta {
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        ports: Some(ports.to_vec()),
    }
}
