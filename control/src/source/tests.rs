//! What manifests say, as it is read.

mod directory;

use std::sync::Arc;

use fairway_proto::model::{self, NodeObject, ObjectName, ServiceType, TrafficPolicy};

use super::declaration::{Object, Slice};
use super::file::{self, Content};
use super::merge::merge;
use super::*;

/// What a manifest declares.
pub(crate) fn declare(text: &str) -> Declarations {
    merge([&content(text)])
}

fn content(text: &str) -> Content {
    file::read(&Arc::from("test.yaml"), text.as_bytes()).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    let problems = match file::read(&Arc::from("test.yaml"), text.as_bytes()) {
        Ok(content) => content.problems,
        Err(problems) => problems,
    };
    problems.iter().map(ToString::to_string).collect()
}

fn service(text: &str) -> Service {
    match content(text).objects.remove(0) {
        Object::Service(service) => service.value.clone(),
        other => panic!("{other:?}"),
    }
}

fn slice(text: &str) -> Slice {
    match content(text).objects.remove(0) {
        Object::Slice(slice) => slice.value.clone(),
        other => panic!("{other:?}"),
    }
}

/// As kubectl prints it.
const DUMP: &str = r#"
apiVersion: v1
items:
- apiVersion: v1
  kind: Service
  metadata:
    annotations:
      fairway.dev/algorithm: maglev
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"v1","kind":"Service"}
    creationTimestamp: "2026-01-02T03:04:05Z"
    labels:
      app: web
    name: web
    namespace: shop
    resourceVersion: "4711"
    uid: 5a6a2a3c-0c55-4a51-9f2a-6a8c1e7f3d10
  spec:
    allocateLoadBalancerNodePorts: true
    clusterIP: 10.96.12.7
    clusterIPs:
    - 10.96.12.7
    - fd00:10:96::c07
    externalTrafficPolicy: Local
    healthCheckNodePort: 31111
    internalTrafficPolicy: Cluster
    ipFamilies:
    - IPv4
    - IPv6
    ipFamilyPolicy: PreferDualStack
    loadBalancerSourceRanges:
    - ' 203.0.113.000/025 '
    ports:
    - name: http
      nodePort: 30080
      port: 80
      protocol: TCP
      targetPort: web
    - name: dns
      nodePort: 30053
      port: 53
      protocol: UDP
      targetPort: 5353
    selector:
      app: web
    sessionAffinity: ClientIP
    sessionAffinityConfig:
      clientIP:
        timeoutSeconds: 600
    type: LoadBalancer
  status:
    loadBalancer:
      ingress:
      - ip: 198.51.100.7
        ipMode: VIP
      - ip: 198.51.100.8
        ipMode: Proxy
      - hostname: lb.example.org
- apiVersion: apps/v1
  kind: Deployment
  metadata:
    name: web
kind: List
metadata:
  resourceVersion: ""
"#;

#[test]
fn a_service_is_read_as_kubectl_prints_it() {
    let Service { model, selector, targets, families, headless, hidden } = service(DUMP);
    assert_eq!(model.name, ObjectName::new("shop", "web"));
    assert_eq!(model.service_type, ServiceType::LoadBalancer);
    assert_eq!(model.cluster_ips.len(), 2);
    assert_eq!(model.load_balancer_ips, ["198.51.100.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(model.ports[0].node_port, Some(30080));
    assert_eq!(model.ports[1].protocol, model::Protocol::Udp);
    assert_eq!(model.external_policy, TrafficPolicy::Local);
    assert_eq!(model.health_check_node_port, Some(31111));
    assert_eq!(model.affinity_seconds, Some(600));
    // S18, S19
    assert_eq!(model.source_ranges, ["203.0.113.0/25".parse().unwrap()]);
    assert_eq!(model.annotations.keys().collect::<Vec<_>>(), ["fairway.dev/algorithm"]);
    assert_eq!(selector["app"], "web");
    assert_eq!(targets, [Target::Name("web".into()), Target::Number(5353)]);
    assert_eq!(families, [Family::V4, Family::V6]);
    assert!(!headless && !hidden);
}

#[test]
fn unknown_kinds_are_counted() {
    assert_eq!(content(DUMP).skipped.into_iter().collect::<Vec<_>>(), [("Deployment".to_owned(), 1)]);
}

#[test]
fn json_and_typed_lists_and_empty_documents_are_read() {
    let json = r#"{"apiVersion":"v1","kind":"NodeList","items":[{"metadata":{"name":"n1"}},{"metadata":{"name":"n2"}}]}"#;
    assert_eq!(declare(json).nodes.keys().collect::<Vec<_>>(), ["n1", "n2"]);
    let yaml = "---\n# nothing\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n3}\n---\n...\n";
    assert_eq!(declare(yaml).nodes.keys().collect::<Vec<_>>(), ["n3"]);
}

#[test]
fn problems_name_file_line_and_field() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: NodePort\n  ports:\n  - port: 80\n";
    assert_eq!(
        problems(text),
        [
            "test.yaml:5:3: Service default/web: spec.clusterIP is missing: there is no API server to choose one",
            "test.yaml:7:5: Service default/web: spec.ports[0].nodePort is missing: there is no API server to \
             choose one",
        ]
    );
    let type_error = text.replace("80", "eighty");
    assert_eq!(
        problems(&type_error),
        [
            "test.yaml:7:11: Service default/web: spec.ports[0].port does not fit: invalid type: string \"eighty\", \
          expected i32"
        ]
    );
    assert_eq!(
        problems("a: 1\n  b: [2\n"),
        ["test.yaml:2:4: is not valid YAML: mapping values are not allowed in this context"]
    );
    assert_eq!(problems("a: 1\n"), ["test.yaml:1:1: kind is missing: this is not a Kubernetes object"]);
    assert_eq!(problems(""), ["test.yaml: is empty: remove the file to remove its objects"]);
}

#[test]
fn values_that_no_data_path_can_use_break_the_file() {
    let web = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: ";
    for (spec, expected) in [
        ("{clusterIP: 10.0.0.300}", "spec.clusterIP is `10.0.0.300`, which is not an IP address"),
        (
            "{clusterIP: 10.0.0.1, ports: [{port: 0}]}",
            "spec.ports[0].port is `0`, which is not a port, 1 to 65535",
        ),
        (
            "{clusterIP: 10.0.0.1, type: Nodeport}",
            "spec.type is `Nodeport`, which is not ClusterIP, NodePort, ",
        ),
        ("{clusterIP: None, ports: [{port: 1}, {port: 2, name: b}]}", "spec.ports[0].name is missing"),
        (
            "{clusterIP: None, ports: [{port: 1, name: a}, {port: 2, name: a}]}",
            "spec.ports[1].name repeats `a`",
        ),
        (
            "{clusterIP: None, ports: [{port: 1, name: a}, {port: 1, name: b}]}",
            "spec.ports[1].port repeats `1/TCP`",
        ),
        (
            "{clusterIP: None, ports: [{port: 1, protocol: tcp}]}",
            "spec.ports[0].protocol is `tcp`, which is not TCP",
        ),
    ] {
        let text = format!("{web}{spec}");
        assert!(file::read(&Arc::from("test.yaml"), text.as_bytes()).is_err(), "{spec}");
        assert!(problems(&text)[0].contains(expected), "{:?}", problems(&text));
    }
}

#[test]
fn a_load_balancer_may_do_without_node_ports() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer, clusterIP: 10.0.0.1, \
                allocateLoadBalancerNodePorts: false, ports: [{port: 80}]}";
    assert_eq!(problems(text), Vec::<String>::new());
}

const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  labels: {kubernetes.io/service-name: web}
addressType: IPv4
ports:
- {name: http, port: 8080}
- {name: all}
- {name: zero, port: 0}
endpoints:
- addresses: [10.0.1.005]
- addresses: [10.0.1.6]
  conditions: {ready: false, serving: true, terminating: true}
  nodeName: n1
  zone: a
  hints: {forZones: [{name: a}]}
  targetRef: {kind: Pod, name: web-6}
";

#[test]
fn an_endpoint_slice_is_read_with_unset_conditions_resolved() {
    let Slice { model, hidden, .. } = slice(SLICE);
    assert!(!hidden);
    assert_eq!(model.service, ObjectName::new("default", "web"));
    let first = &model.endpoints[0];
    // S1, S18
    assert_eq!((first.ready, first.serving, first.terminating), (true, true, false));
    assert_eq!(first.address.to_string(), "10.0.1.5");
    let second = &model.endpoints[1];
    assert_eq!((second.ready, second.serving, second.terminating), (false, true, true));
    assert_eq!(second.pod, Some(ObjectName::new("default", "web-6")));
    assert_eq!(*second.hint_zones, ["a"]);
}

// S109
#[test]
fn a_node_says_that_it_is_being_deleted_and_which_taints_it_has() {
    let text = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n";
    let node = |text: &str| match content(text).objects.remove(0) {
        Object::Node(node) => node.value.object.clone().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(node(text), NodeObject::default());
    let deleting = text.replace("name: n1", "name: n1, deletionTimestamp: '2026-01-02T03:04:05Z'");
    assert_eq!(node(&deleting), NodeObject { deleting: true, taints: vec![] });
    let taint = "spec: {taints: [{key: ToBeDeletedByClusterAutoscaler, value: '1', effect: NoSchedule}]}";
    assert_eq!(node(&format!("{text}{taint}")).taints, ["ToBeDeletedByClusterAutoscaler"]);
}

#[test]
fn a_slice_says_when_the_change_happened_that_it_was_written_for() {
    let with = |time: &str| {
        let annotation = format!(
            "name: web-1\n  annotations: {{endpoints.kubernetes.io/last-change-trigger-time: '{time}'}}"
        );
        slice(&SLICE.replace("name: web-1", &annotation)).model.last_change
    };
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_767_323_045, 678_000_000);
    assert_eq!(with("2026-01-02T03:04:05.678Z"), Some(time));
    assert_eq!(with("2026-01-02T04:04:05.678+01:00"), Some(time));
    assert_eq!(with("yesterday"), None);
    assert_eq!(slice(SLICE).model.last_change, None);
}

// S13
#[test]
fn a_slice_port_without_a_number_is_ignored_and_the_rest_is_kept() {
    let ports: Vec<_> = slice(SLICE).model.ports.into_iter().map(|port| (port.name, port.port)).collect();
    assert_eq!(ports, [("http".to_owned(), 8080)]);
}

// S16
#[test]
fn labels_of_other_proxies_and_headless_slices_hide() {
    assert!(slice(&SLICE.replace("labels: {", "labels: {service.kubernetes.io/headless: '', ")).hidden);
    assert!(service(&DUMP.replace("app: web", "service.kubernetes.io/service-proxy-name: other")).hidden);
}

#[test]
fn an_endpoints_object_becomes_one_slice_for_each_subset_and_family() {
    let text = "
apiVersion: v1
kind: Endpoints
metadata: {name: db}
subsets:
- addresses: [{ip: 192.0.2.1}, {ip: 2001:db8::1}]
  notReadyAddresses: [{ip: 192.0.2.2}]
  ports: [{port: 5432}]
";
    let Object::Endpoints(endpoints) = content(text).objects.remove(0) else { panic!() };
    let slices = &endpoints.value.slices;
    let names: Vec<_> = slices.iter().map(|slice| slice.name.name()).collect();
    assert_eq!(names, ["db:endpoints:0:ipv4", "db:endpoints:0:ipv6"]);
    let ready: Vec<_> = slices[0].endpoints.iter().map(|endpoint| endpoint.ready).collect();
    assert_eq!(ready, [true, false]);
}
