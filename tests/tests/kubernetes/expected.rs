//! What agents should have, computed from the server's objects by other code than the control plane's.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use fairway_proto::model::{
    Cluster, Endpoint, EndpointPort, EndpointSlice, Node, NodeObject, ObjectName, Protocol, Service,
    ServicePort, ServiceType, TrafficPolicy,
};
use fairway_tests::apiserver::{ApiServer, Kind};
use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// The state that all agents should have, when the control plane serves the Services of this proxy's name.
pub(crate) fn cluster(api: &ApiServer, proxy: Option<&str>) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::default();
    let ours = |object: &&Value| object["metadata"]["labels"][PROXY_NAME].as_str() == proxy;
    for object in api.objects(Kind::Service).iter().filter(ours) {
        let service = service(object).with_context(|| object.to_string())?;
        cluster.services.insert(service.name.clone(), Arc::new(service));
    }
    for object in api.objects(Kind::EndpointSlice).iter().filter(ours).filter(|object| is_served(object)) {
        let slice = slice(object).with_context(|| object.to_string())?;
        cluster.slices.insert(slice.name.clone(), Arc::new(slice));
    }
    for object in &api.objects(Kind::Node) {
        let node = node(object).with_context(|| object.to_string())?;
        cluster.nodes.insert(node.name.clone(), Arc::new(node));
    }
    Ok(cluster)
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn name(object: &Value) -> ObjectName {
    let part = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    ObjectName::new(part("namespace"), part("name"))
}

fn addresses<'a>(texts: impl Iterator<Item = &'a Value>) -> anyhow::Result<Vec<IpAddr>> {
    texts.filter_map(text).map(|text| Ok(text.parse()?)).collect()
}

fn cidrs<'a>(texts: impl Iterator<Item = &'a Value>) -> anyhow::Result<Vec<IpNet>> {
    texts.filter_map(text).map(|text| Ok(text.parse()?)).collect()
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().filter(|number| *number != 0).and_then(|number| number.try_into().ok())
}

fn protocol(value: &Value) -> Protocol {
    match value.as_str() {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

fn policy(value: &Value) -> TrafficPolicy {
    if value == "Local" { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

fn service(object: &Value) -> anyhow::Result<Service> {
    let spec = &object["spec"];
    let service_type = match spec["type"].as_str() {
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some("ExternalName") => ServiceType::ExternalName,
        _ => ServiceType::ClusterIp,
    };
    let balanced = service_type == ServiceType::LoadBalancer;
    let ingress =
        list(&object["status"]["loadBalancer"]["ingress"]).filter(|one| balanced && one["ipMode"] != "Proxy");
    let affinity = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    let annotations = object["metadata"]["annotations"].as_object().into_iter().flatten();
    let port = |port: &Value| {
        Some(ServicePort {
            name: text(&port["name"]).unwrap_or_default().into(),
            protocol: protocol(&port["protocol"]),
            port: number(&port["port"])?,
            node_port: number(&port["nodePort"]),
        })
    };
    let external_policy = policy(&spec["externalTrafficPolicy"]);
    let local = balanced && external_policy == TrafficPolicy::Local;
    Ok(Service {
        name: name(object),
        service_type,
        cluster_ips: addresses(list(&spec["clusterIPs"]).filter(|ip| **ip != "None"))?,
        external_ips: addresses(list(&spec["externalIPs"]))?,
        load_balancer_ips: addresses(ingress.map(|one| &one["ip"]))?,
        ports: list(&spec["ports"]).filter_map(port).collect(),
        internal_policy: policy(&spec["internalTrafficPolicy"]),
        external_policy,
        health_check_node_port: number(&spec["healthCheckNodePort"]).filter(|_| local),
        affinity_seconds: (spec["sessionAffinity"] == "ClientIP")
            .then(|| affinity.as_u64().and_then(|seconds| seconds.try_into().ok()).unwrap_or(10_800)),
        source_ranges: cidrs(list(&spec["loadBalancerSourceRanges"]))?,
        publish_not_ready: spec["publishNotReadyAddresses"] == true,
        traffic_distribution: text(&spec["trafficDistribution"]).map(Into::into),
        annotations: annotations
            .filter(|(key, _)| key.starts_with("fairway.dev/"))
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
    })
}

fn is_served(slice: &Value) -> bool {
    let labels = &slice["metadata"]["labels"];
    let headless = labels.get("service.kubernetes.io/headless").is_some();
    slice["addressType"] != "FQDN" && !headless && text(&labels["kubernetes.io/service-name"]).is_some()
}

fn slice(object: &Value) -> anyhow::Result<EndpointSlice> {
    let metadata = &object["metadata"];
    let service = text(&metadata["labels"]["kubernetes.io/service-name"]).unwrap_or_default();
    let changed = text(&metadata["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"]);
    let changed = changed.and_then(|text| text.parse::<Timestamp>().ok());
    let ports = list(&object["ports"]).filter_map(|port| {
        Some(EndpointPort {
            name: text(&port["name"]).unwrap_or_default().into(),
            protocol: protocol(&port["protocol"]),
            port: number(&port["port"])?,
        })
    });
    Ok(EndpointSlice {
        name: name(object),
        service: ObjectName::new(metadata["namespace"].as_str().unwrap_or_default(), service),
        ports: ports.collect(),
        endpoints: list(&object["endpoints"]).map(endpoint).collect::<anyhow::Result<_>>()?,
        last_change: changed.map(|time| {
            UNIX_EPOCH + Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default())
        }),
    })
}

fn endpoint(endpoint: &Value) -> anyhow::Result<Endpoint> {
    let condition = |name: &str| endpoint["conditions"][name].as_bool();
    let names =
        |field: &str| list(&endpoint["hints"][field]).filter_map(|one| text(&one["name"])).map(Into::into);
    let pod = &endpoint["targetRef"];
    let of_pod = || Some(ObjectName::new(text(&pod["namespace"])?, text(&pod["name"])?));
    let ready = condition("ready").unwrap_or(true);
    Ok(Endpoint {
        address: text(&endpoint["addresses"][0]).context("an endpoint without an address")?.parse()?,
        ready,
        serving: condition("serving").unwrap_or(ready),
        terminating: condition("terminating").unwrap_or(false),
        node: text(&endpoint["nodeName"]).map(Into::into),
        zone: text(&endpoint["zone"]).map(Into::into),
        hint_zones: names("forZones").collect(),
        hint_nodes: names("forNodes").collect(),
        pod: if pod["kind"] == "Pod" { of_pod() } else { None },
    })
}

fn node(object: &Value) -> anyhow::Result<Node> {
    let of = |wanted: &'static str| {
        let all = list(&object["status"]["addresses"]).filter(move |one| one["type"] == wanted);
        all.map(|one| &one["address"])
    };
    let metadata = &object["metadata"];
    Ok(Node {
        name: metadata["name"].as_str().unwrap_or_default().into(),
        addresses: addresses(of("InternalIP").chain(of("ExternalIP")))?,
        pod_cidrs: cidrs(list(&object["spec"]["podCIDRs"]))?,
        zone: text(&metadata["labels"]["topology.kubernetes.io/zone"]).map(Into::into),
        object: Some(NodeObject {
            deleting: !metadata["deletionTimestamp"].is_null(),
            taints: list(&object["spec"]["taints"])
                .filter_map(|taint| text(&taint["key"]))
                .map(Into::into)
                .collect(),
        }),
    })
}
