//! A Service port: what its Service says about it, for one family, with its endpoints.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::Family;
use super::endpoints::{Endpoints, endpoints};

const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Seconds for which a client keeps its endpoint, when its Service does not say.
const AFFINITY: u32 = 10_800;

#[derive(Clone, Debug)]
pub(in crate::peer) struct Port {
    /// `NAMESPACE/SERVICE/PROTOCOL/PORT`.
    pub(in crate::peer) name: String,
    /// In lower case.
    pub(in crate::peer) protocol: String,
    pub(in crate::peer) number: u16,
    pub(in crate::peer) node_port: Option<u16>,
    pub(in crate::peer) cluster_ip: IpAddr,
    pub(in crate::peer) external_ips: Vec<IpAddr>,
    pub(in crate::peer) balancer_ips: Vec<IpAddr>,
    /// Empty: anyone may use the load balancer's addresses.
    pub(in crate::peer) source_ranges: Vec<IpNet>,
    pub(in crate::peer) affinity_seconds: Option<u32>,
    pub(in crate::peer) external_local: bool,
    pub(in crate::peer) internal_local: bool,
    pub(in crate::peer) endpoints: Endpoints,
}

impl Port {
    /// Addresses and NodePort by which the port can be reached from outside of the cluster.
    pub(in crate::peer) fn is_external(&self) -> bool {
        self.node_port.is_some() || !self.external_ips.is_empty() || !self.balancer_ips.is_empty()
    }

    /// Addresses of outside.
    pub(in crate::peer) fn external(&self) -> impl Iterator<Item = IpAddr> {
        self.external_ips.iter().chain(&self.balancer_ips).copied()
    }
}

/// Slices by the namespace and name of their Service.
pub(in crate::peer) struct Slices<'a>(HashMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>);

impl<'a> Slices<'a> {
    pub(in crate::peer) fn new(slices: &'a [EndpointSlice]) -> Self {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for slice in slices {
            let labels = slice.metadata.labels.as_ref();
            let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
            let namespace = slice.metadata.namespace.as_deref().unwrap_or("default");
            if let (Some(service), None) = (label(SERVICE_NAME), label(HEADLESS)) {
                all.entry((namespace, service)).or_default().push(slice);
            }
        }
        Self(all)
    }

    fn of<'b>(&'b self, service: &'b Service) -> &'b [&'b EndpointSlice] {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        self.0.get(&(namespace(service), name)).map_or(&[], Vec::as_slice)
    }
}

/// The ports of a Service that kube-proxy serves in this family.
pub(in crate::peer) fn ports(
    service: &Service,
    slices: &Slices<'_>,
    family: Family,
    node: &str,
) -> Vec<Port> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let is_labelled = |name: &str| service.metadata.labels.iter().flatten().any(|(label, _)| label == name);
    // S16
    if spec.type_.as_deref() == Some("ExternalName") || is_labelled(PROXY_NAME) {
        return Vec::new();
    }
    let of_family = |texts: Vec<&String>| -> Vec<IpAddr> {
        let addresses = texts.into_iter().filter_map(|text| text.parse().ok());
        addresses.filter(|address| family.has(*address)).collect()
    };
    let cluster_ips: Vec<&String> = match &spec.cluster_ips {
        Some(all) if !all.is_empty() => all.iter().collect(),
        _ => spec.cluster_ip.iter().collect(),
    };
    // Headless Services have none.
    let Some(&cluster_ip) = of_family(cluster_ips).first() else { return Vec::new() };
    let slices = slices.of(service);
    let balancers = balancer_ips(service);
    let read = |port: &ServicePort| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let (namespace, name) = (namespace(service), service.metadata.name.as_deref().unwrap_or_default());
        let port_name = port.name.as_deref().unwrap_or_default();
        Some(Port {
            name: format!("{namespace}/{name}/{}/{port_name}", protocol.to_lowercase()),
            protocol: protocol.to_lowercase(),
            number: u16::try_from(port.port).ok()?,
            node_port: port.node_port.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0),
            cluster_ip,
            external_ips: of_family(spec.external_ips.iter().flatten().collect()),
            balancer_ips: of_family(balancers.clone()),
            source_ranges: source_ranges(spec, family),
            affinity_seconds: affinity(spec),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            endpoints: endpoints(slices, port.name.as_deref(), protocol, family, node),
        })
    };
    spec.ports.iter().flatten().filter_map(read).collect()
}

fn namespace(service: &Service) -> &str {
    service.metadata.namespace.as_deref().unwrap_or("default")
}

fn balancer_ips(service: &Service) -> Vec<&String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    ingress
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref())
        .collect()
}

/// S19: one that holds every address restricts nobody.
fn source_ranges(spec: &ServiceSpec, family: Family) -> Vec<IpNet> {
    let texts = spec.load_balancer_source_ranges.iter().flatten();
    let ranges: Vec<IpNet> = texts.filter_map(|text| text.trim().parse().ok()).collect();
    let ranges = family.of(&ranges, |range| range.addr());
    if ranges.iter().any(|range| range.prefix_len() == 0) { Vec::new() } else { ranges }
}

fn affinity(spec: &ServiceSpec) -> Option<u32> {
    (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = config.and_then(|config| config.timeout_seconds);
        seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(AFFINITY)
    })
}
