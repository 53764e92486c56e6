//! Services.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_proto::model::{self, ServicePort, ServiceType, TrafficPolicy};
use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::declaration::{Family, Service, Target};
use super::problem::Cause;
use super::reader::Reader;

/// Only annotations of this prefix are Fairway's.
const ANNOTATIONS: &str = "fairway.dev/";
/// The API server's default.
const AFFINITY_SECONDS: i32 = 10800;

/// Reads a Service.
pub(crate) fn read(reader: &mut Reader<'_>, object: k8s::Service) -> Service {
    let name = reader.name(&object.metadata);
    let metadata = object.metadata;
    let spec = object.spec.unwrap_or_default();
    let service_type = service_type(reader, spec.type_.as_deref());
    let (cluster_ips, headless) = cluster_ips(reader, &spec, service_type);
    let (ports, targets) = ports(reader, &spec, service_type);
    let families = families(reader, &spec, &cluster_ips);
    let external_policy =
        policy(reader, "spec.externalTrafficPolicy", spec.external_traffic_policy.as_deref());
    let ingress = object.status.and_then(|status| status.load_balancer).and_then(|status| status.ingress);
    let model = model::Service {
        name,
        service_type,
        cluster_ips,
        external_ips: reader.addresses("spec.externalIPs", spec.external_ips.as_deref().unwrap_or_default()),
        load_balancer_ips: load_balancer_ips(reader, service_type, &ingress.unwrap_or_default()),
        ports,
        internal_policy: policy(
            reader,
            "spec.internalTrafficPolicy",
            spec.internal_traffic_policy.as_deref(),
        ),
        external_policy,
        health_check_node_port: spec
            .health_check_node_port
            .filter(|_| service_type == ServiceType::LoadBalancer && external_policy == TrafficPolicy::Local)
            .filter(|port| *port != 0)
            .and_then(|port| reader.port("spec.healthCheckNodePort", port)),
        affinity_seconds: affinity(reader, &spec),
        source_ranges: reader.cidrs(
            "spec.loadBalancerSourceRanges",
            spec.load_balancer_source_ranges.as_deref().unwrap_or_default(),
        ),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        traffic_distribution: spec.traffic_distribution.filter(|text| !text.is_empty()),
        annotations: annotations(metadata.annotations.unwrap_or_default()),
    };
    let labels = metadata.labels.unwrap_or_default();
    let hidden = labels.contains_key("service.kubernetes.io/service-proxy-name");
    Service { model, selector: spec.selector.unwrap_or_default(), targets, families, headless, hidden }
}

fn annotations(all: BTreeMap<String, String>) -> BTreeMap<String, String> {
    all.into_iter().filter(|(key, _)| key.starts_with(ANNOTATIONS)).collect()
}

fn service_type(reader: &mut Reader<'_>, text: Option<&str>) -> ServiceType {
    match text {
        None | Some("" | "ClusterIP") => ServiceType::ClusterIp,
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some("ExternalName") => ServiceType::ExternalName,
        Some(other) => {
            reader.invalid("spec.type", other, "ClusterIP, NodePort, LoadBalancer or ExternalName");
            ServiceType::ClusterIp
        }
    }
}

fn policy(reader: &mut Reader<'_>, field: &str, text: Option<&str>) -> TrafficPolicy {
    match text {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            reader.invalid(field, other, "Cluster or Local");
            TrafficPolicy::Cluster
        }
    }
}

/// The cluster IPs, and whether the Service is headless.
fn cluster_ips(
    reader: &mut Reader<'_>,
    spec: &k8s::ServiceSpec,
    service_type: ServiceType,
) -> (Vec<IpAddr>, bool) {
    if service_type == ServiceType::ExternalName {
        return (Vec::new(), false);
    }
    let several = spec.cluster_ips.as_deref().unwrap_or_default();
    let single = spec.cluster_ip.as_deref().filter(|text| !text.is_empty());
    if single == Some("None") || several.first().is_some_and(|first| first == "None") {
        return (Vec::new(), true);
    }
    let addresses = match single {
        _ if !several.is_empty() => reader.addresses("spec.clusterIPs", several),
        Some(text) => reader.address("spec.clusterIP", text).into_iter().collect(),
        None => {
            reader.note("spec.clusterIP", Cause::NotAllocated);
            Vec::new()
        }
    };
    if let [first, second, ..] = addresses[..]
        && Family::of(&first) == Family::of(&second)
    {
        reader.invalid("spec.clusterIPs[1]", second, "of the other IP family");
    }
    (addresses, false)
}

fn families(reader: &mut Reader<'_>, spec: &k8s::ServiceSpec, cluster_ips: &[IpAddr]) -> Vec<Family> {
    let mut families = Vec::new();
    for (index, text) in spec.ip_families.iter().flatten().enumerate() {
        match text.as_str() {
            "IPv4" => families.push(Family::V4),
            "IPv6" => families.push(Family::V6),
            other => reader.invalid(format!("spec.ipFamilies[{index}]"), other, "IPv4 or IPv6"),
        }
    }
    families.extend(cluster_ips.iter().map(Family::of));
    families.sort_unstable();
    families.dedup();
    families
}

fn load_balancer_ips(
    reader: &mut Reader<'_>,
    service_type: ServiceType,
    ingress: &[k8s::LoadBalancerIngress],
) -> Vec<IpAddr> {
    if service_type != ServiceType::LoadBalancer {
        return Vec::new();
    }
    let mut addresses = Vec::new();
    for (index, ingress) in ingress.iter().enumerate() {
        let proxied = ingress.ip_mode.as_deref() == Some("Proxy");
        if let Some(ip) = ingress.ip.as_deref().filter(|ip| !ip.is_empty() && !proxied) {
            addresses.extend(reader.address(format!("status.loadBalancer.ingress[{index}].ip"), ip));
        }
    }
    addresses
}

fn affinity(reader: &mut Reader<'_>, spec: &k8s::ServiceSpec) -> Option<u32> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return None,
        Some("ClientIP") => {}
        Some(other) => {
            reader.invalid("spec.sessionAffinity", other, "None or ClientIP");
            return None;
        }
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECONDS);
    let valid = u32::try_from(seconds).ok().filter(|seconds| (1..=86400).contains(seconds));
    if valid.is_none() {
        reader.invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, "1 to 86400 seconds");
    }
    valid
}

/// The ports, and what each of them aims at.
fn ports(
    reader: &mut Reader<'_>,
    spec: &k8s::ServiceSpec,
    service_type: ServiceType,
) -> (Vec<ServicePort>, Vec<Target>) {
    let declared = spec.ports.as_deref().unwrap_or_default();
    let mut ports: Vec<ServicePort> = Vec::with_capacity(declared.len());
    let mut targets = Vec::with_capacity(declared.len());
    for (index, port) in declared.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let name = port.name.clone().unwrap_or_default();
        let protocol = reader.protocol(format!("{field}.protocol"), port.protocol.as_deref());
        let Some(number) = reader.port(format!("{field}.port"), port.port) else { continue };
        if name.is_empty() && declared.len() > 1 {
            reader.note(format!("{field}.name"), Cause::Missing);
        } else if ports.iter().any(|other| other.name == name) {
            reader.note(format!("{field}.name"), Cause::Repeated { value: name.clone() });
        }
        if ports.iter().any(|other| (other.protocol, other.port) == (protocol, number)) {
            let value = format!("{number}/{}", protocol.as_str_name());
            reader.note(format!("{field}.port"), Cause::Repeated { value });
        }
        let node_port = node_port(reader, spec, service_type, &field, port.node_port);
        targets.extend(target(reader, &field, number, port.target_port.as_ref()));
        ports.push(ServicePort { name, protocol, port: number, node_port });
    }
    (ports, targets)
}

fn node_port(
    reader: &mut Reader<'_>,
    spec: &k8s::ServiceSpec,
    service_type: ServiceType,
    field: &str,
    number: Option<i32>,
) -> Option<u16> {
    let field = format!("{field}.nodePort");
    let optional = match service_type {
        ServiceType::ClusterIp | ServiceType::ExternalName => return None,
        ServiceType::NodePort => false,
        ServiceType::LoadBalancer => spec.allocate_load_balancer_node_ports == Some(false),
    };
    match number.filter(|number| *number != 0) {
        Some(number) => reader.port(field, number),
        None => {
            if !optional {
                reader.note(field, Cause::NotAllocated);
            }
            None
        }
    }
}

fn target(reader: &mut Reader<'_>, field: &str, port: u16, target: Option<&IntOrString>) -> Option<Target> {
    match target {
        None | Some(IntOrString::Int(0)) => Some(Target::Number(port)),
        Some(IntOrString::Int(number)) => {
            reader.port(format!("{field}.targetPort"), *number).map(Target::Number)
        }
        Some(IntOrString::String(name)) if name.is_empty() => Some(Target::Number(port)),
        // Kubernetes' validation knows no numeric names: "8080" in quotes is a number for everybody else.
        Some(IntOrString::String(name)) => match name.parse::<u16>() {
            Ok(number) if number != 0 => Some(Target::Number(number)),
            _ => Some(Target::Name(name.clone())),
        },
    }
}
