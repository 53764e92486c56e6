mod change;

use std::collections::BTreeMap;
use std::fmt::Write;

use fairway_proto::control;
use fairway_proto::model::{EndpointSlice, Node, ObjectName, Resource};

use super::*;
use crate::source::tests::declare;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIPs: [10.96.0.1, 'fd00::1']
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
";

fn pod(name: &str, port: u16, status: &str) -> String {
    format!(
        "
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: web, version: v1}}}}
spec:
  nodeName: n1
  containers: [{{name: c, ports: [{{name: http, containerPort: {port}}}]}}]
status: {status}
"
    )
}

const READY: &str =
    "{podIPs: [{ip: 10.0.1.5}, {ip: 'fd01::5'}], conditions: [{type: Ready, status: 'True'}]}";

fn slices(text: &str, agents: &Agents) -> Vec<EndpointSlice> {
    let slices =
        resolve(&declare(text), agents).resources.into_values().filter_map(|resource| match resource {
            Resource::EndpointSlice(slice) => Some(slice),
            _ => None,
        });
    slices.collect()
}

fn names(slices: &[EndpointSlice]) -> Vec<&str> {
    slices.iter().map(|slice| slice.name.name()).collect()
}

fn agent(node: &str, addresses: &[&str]) -> Agents {
    let mut agents = Agents::default();
    agents.hello(Node {
        name: node.into(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        pod_cidrs: vec!["10.0.1.0/24".parse().unwrap()],
        zone: None,
        object: None,
    });
    agents
}

fn report(agents: &mut Agents, node: &str, pod: &str, address: &str, ready: bool, terminating: bool) {
    let status = control::PodStatus {
        namespace: "default".into(),
        name: pod.into(),
        addresses: vec![address.into()],
        ready,
        terminating,
    };
    let pods = parse_report(control::Report { pods: vec![status] }).unwrap();
    agents.report(node, pods);
}

#[test]
fn a_selected_pod_becomes_an_endpoint_of_each_family() {
    let text = format!("{SERVICE}{}", pod("web-1", 8080, READY));
    let slices = slices(&text, &Agents::default());
    assert_eq!(names(&slices), ["web:ipv4:8080/TCP", "web:ipv6:8080/TCP"]);
    let endpoint = &slices[0].endpoints[0];
    assert_eq!((endpoint.ready, endpoint.serving, endpoint.terminating), (true, true, false));
    assert_eq!(endpoint.node.as_deref(), Some("n1"));
    assert_eq!(endpoint.pod, Some(ObjectName::new("default", "web-1")));
}

#[test]
fn what_the_agent_reports_wins_over_the_manifest() {
    let mut agents = agent("n1", &["192.0.2.1"]);
    let text = format!("{SERVICE}{}", pod("web-1", 8080, "{}"));
    assert!(slices(&text, &agents).is_empty());
    report(&mut agents, "n1", "web-1", "10.0.1.9", true, false);
    assert_eq!(slices(&text, &agents)[0].endpoints[0].address.to_string(), "10.0.1.9");
    // A report of another node is about another pod of that name.
    report(&mut agents, "n2", "web-1", "10.0.2.9", true, false);
    assert_eq!(slices(&text, &agents)[0].endpoints[0].address.to_string(), "10.0.1.9");
    report(&mut agents, "n1", "web-1", "10.0.1.9", true, true);
    let endpoint = slices(&text, &agents)[0].endpoints[0].clone();
    assert_eq!((endpoint.ready, endpoint.serving, endpoint.terminating), (false, true, true));
}

// S17
#[test]
fn publish_not_ready_addresses_makes_every_pod_ready() {
    let mut agents = agent("n1", &[]);
    report(&mut agents, "n1", "web-1", "10.0.1.9", false, true);
    let text = SERVICE.replace("spec:", "spec:\n  publishNotReadyAddresses: true") + &pod("web-1", 1, "{}");
    let endpoint = slices(&text, &agents)[0].endpoints[0].clone();
    assert_eq!((endpoint.ready, endpoint.serving, endpoint.terminating), (true, false, true));
}

// S15
#[test]
fn pods_with_different_numbers_for_a_named_port_get_different_slices() {
    let text = format!(
        "{SERVICE}{}{}",
        pod("web-1", 8080, READY),
        pod("web-2", 9090, &READY.replace("10.0.1.5", "10.0.1.6"))
    );
    let slices = slices(&text, &Agents::default());
    assert_eq!(
        names(&slices),
        ["web:ipv4:8080/TCP", "web:ipv4:9090/TCP", "web:ipv6:8080/TCP", "web:ipv6:9090/TCP"]
    );
}

#[test]
fn a_host_network_pod_has_its_nodes_addresses() {
    let agents = agent("n1", &["192.0.2.1", "2001:db8::1"]);
    let text =
        SERVICE.to_owned() + &pod("web-1", 8080, READY).replace("nodeName", "hostNetwork: true\n  nodeName");
    let addresses: Vec<_> =
        slices(&text, &agents).iter().map(|slice| slice.endpoints[0].address.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.1", "2001:db8::1"]);
}

#[test]
fn finished_pods_and_pods_of_other_labels_are_no_endpoints() {
    let finished = pod("web-1", 8080, &READY.replace("{podIPs", "{phase: Succeeded, podIPs"));
    assert!(slices(&format!("{SERVICE}{finished}"), &Agents::default()).is_empty());
    let other = SERVICE.replace("{app: web}", "{app: web, version: v2}");
    assert!(slices(&format!("{other}{}", pod("web-1", 8080, READY)), &Agents::default()).is_empty());
}

fn many(count: usize, without: Option<usize>) -> Vec<EndpointSlice> {
    let mut text = SERVICE.replace(", 'fd00::1'", "");
    for index in (0..count).filter(|index| Some(*index) != without) {
        let status = format!("{{podIP: 10.1.{}.{}}}", index / 250, index % 250 + 1);
        write!(text, "{}", pod(&format!("web-{index}"), 80, &status)).unwrap();
    }
    slices(&text, &Agents::default())
}

#[test]
fn a_slice_has_at_most_100_endpoints_and_one_pod_changes_few_slices() {
    assert_eq!(many(100, None).len(), 1);
    let before = many(600, None);
    assert!(before.iter().all(|slice| slice.endpoints.len() <= 100));
    assert_eq!(before.iter().map(|slice| slice.endpoints.len()).sum::<usize>(), 600);
    let after = many(600, Some(300));
    let unchanged = before.iter().filter(|slice| after.contains(slice)).count();
    assert!(unchanged + 3 >= before.len(), "{unchanged} of {}", before.len());
}

const ENDPOINTS: &str = "
---
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets: [{addresses: [{ip: 192.0.2.7}], ports: [{port: 80}]}]
";

const SLICE: &str = "
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: '', port: 80}]
endpoints: [{addresses: [192.0.2.8]}]
";

#[test]
fn hand_written_slices_stand_beside_those_made_from_pods() {
    let text = format!("{SERVICE}{}{SLICE}", pod("web-1", 8080, READY));
    assert_eq!(
        names(&slices(&text, &Agents::default())),
        ["web-x", "web:ipv4:8080/TCP", "web:ipv6:8080/TCP"]
    );
}

#[test]
fn slices_dumped_from_a_clusters_controller_are_used_until_the_pods_are_known() {
    let managed = SLICE.replace(
        "service-name: web",
        "service-name: web, endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io",
    );
    assert_eq!(names(&slices(&format!("{SERVICE}{managed}"), &Agents::default())), ["web-x"]);
    let text = format!("{SERVICE}{managed}{}", pod("web-1", 8080, READY));
    assert_eq!(names(&slices(&text, &Agents::default())), ["web:ipv4:8080/TCP", "web:ipv6:8080/TCP"]);
}

#[test]
fn endpoints_objects_are_mirrored_for_services_without_a_selector() {
    let without = SERVICE.replace("selector: {app: web}", "selector: {}");
    assert_eq!(
        names(&slices(&format!("{without}{ENDPOINTS}"), &Agents::default())),
        ["web:endpoints:0:ipv4"]
    );
    assert!(slices(&format!("{SERVICE}{ENDPOINTS}"), &Agents::default()).is_empty());
    let mirrored = SLICE.replace(
        "service-name: web",
        "service-name: web, endpointslice.kubernetes.io/managed-by: endpointslicemirroring-controller.k8s.io",
    );
    assert_eq!(names(&slices(&format!("{without}{ENDPOINTS}{mirrored}"), &Agents::default())), ["web-x"]);
}

const NODE: &str = "
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}
spec: {podCIDR: 10.9.0.0/24}
status: {addresses: [{type: ExternalIP, address: 203.0.113.1}, {type: InternalIP, address: 192.0.2.9}]}
";

#[test]
fn the_manifest_of_a_node_wins_for_pod_cidrs_and_zone_and_the_agent_for_addresses() {
    let node =
        |agents: &Agents| match &resolve(&declare(NODE), agents).resources[&ResourceKey::Node("n1".into())] {
            Resource::Node(node) => node.clone(),
            other => panic!("{other:?}"),
        };
    let alone = node(&Agents::default());
    assert_eq!(
        alone.addresses,
        ["192.0.2.9", "203.0.113.1"].map(|text| text.parse::<std::net::IpAddr>().unwrap())
    );
    let merged = node(&agent("n1", &["192.0.2.1"]));
    assert_eq!(merged.addresses, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(merged.pod_cidrs, ["10.9.0.0/24".parse().unwrap()]);
    assert_eq!(merged.zone.as_deref(), Some("a"));
}

#[test]
fn endpoints_have_their_nodes_zone_and_hints_where_the_service_wants_near_ones() {
    let text = SERVICE.replace("spec:", "spec:\n  trafficDistribution: PreferSameNode")
        + NODE
        + &pod("web-1", 80, READY);
    let endpoint = slices(&text, &Agents::default())[0].endpoints[0].clone();
    assert_eq!(endpoint.zone.as_deref(), Some("a"));
    assert_eq!(
        (&*endpoint.hint_zones, &*endpoint.hint_nodes),
        (&["a".to_owned()][..], &["n1".to_owned()][..])
    );
}

// S16
#[test]
fn a_service_of_another_proxy_does_not_exist_as_long_as_it_has_the_label() {
    let plain = SERVICE.to_owned() + &pod("web-1", 80, READY);
    let kinds = |text: &str| resolve(&declare(text), &Agents::default()).resources.len();
    let hidden = SERVICE
        .replace("name: web", "name: web, labels: {service.kubernetes.io/service-proxy-name: x}")
        + &pod("web-1", 80, READY);
    assert_eq!((kinds(&plain), kinds(&hidden), kinds(&plain)), (3, 0, 3));
}

#[test]
fn a_report_about_another_nodes_pod_is_left_out_and_told() {
    let text = format!("{SERVICE}{}", pod("web-1", 8080, "{}"));
    let mut agents = agent("n1", &["192.0.2.1"]);
    report(&mut agents, "n2", "web-1", "10.0.2.9", true, false);
    let resolved = resolve(&declare(&text), &agents);
    assert!(!resolved.resources.values().any(|resource| matches!(resource, Resource::EndpointSlice(_))));
    let problems: Vec<_> = resolved.problems.iter().map(ToString::to_string).collect();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    let rest = "is reported by the agent of node `n2`, but bound to node `n1`: that report is left out";
    assert!(problem.ends_with(&format!("Pod default/web-1: {rest}")), "{problem}");
    // What a pod leaves that was made again elsewhere is nothing to tell.
    report(&mut agents, "n2", "web-1", "10.0.2.9", true, true);
    assert!(resolve(&declare(&text), &agents).problems.is_empty());
}

#[test]
fn of_two_services_that_claim_one_address_the_first_by_name_keeps_it() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {type: NodePort, clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {type: NodePort, clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: c}
spec: {type: NodePort, clusterIP: 10.96.0.2, ports: [{port: 80, protocol: UDP, nodePort: 30080}]}
";
    let Resolved { resources, problems, .. } = resolve(&declare(text), &Agents::default());
    let served: BTreeMap<_, _> = resources
        .values()
        .filter_map(|resource| match resource {
            Resource::Service(service) => {
                Some((service.name.name(), (service.cluster_ips.len(), service.ports[0].node_port)))
            }
            _ => None,
        })
        .collect();
    assert_eq!(served, BTreeMap::from([("a", (1, Some(30080))), ("b", (0, None)), ("c", (1, Some(30080)))]));
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "test.yaml:2:1: Service default/b: spec.clusterIP claims 10.96.0.1:80/TCP, which Service default/a \
             (test.yaml:7) has already: it is left out here",
            "test.yaml:2:1: Service default/b: spec.ports[0].nodePort claims 30080/TCP of every node, which Service \
             default/a (test.yaml:7) has already: it is left out here",
        ]
    );
}
