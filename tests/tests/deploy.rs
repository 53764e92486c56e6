//! The manifests of deploy/kubernetes: valid by the types of the Kubernetes API, and whole.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, ServiceAccount, Volume};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Objects that Kubernetes makes in every namespace.
const OF_KUBERNETES: [&str; 1] = ["kube-root-ca.crt"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn folder() -> PathBuf {
    root().join("deploy/kubernetes")
}

fn text(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a kustomization that is used; anything else is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    namespace: String,
    resources: Vec<String>,
    config_map_generator: Vec<Generator>,
    images: Vec<Image>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generator {
    name: String,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    envs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    new_name: String,
    new_tag: String,
}

fn kustomization() -> Kustomization {
    serde_saphyr::from_str(&text("kustomization.yaml")).unwrap()
}

/// Every document of every resource.
fn documents() -> Vec<Value> {
    let all = kustomization().resources;
    all.iter().flat_map(|name| serde_saphyr::from_multiple::<Value>(&text(name)).unwrap()).collect()
}

fn name_of(document: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", word(&document["kind"]), word(&document["metadata"]["name"]))
}

/// The document as a type; what the type does not know, or changes, is an error.
fn strict<T: DeserializeOwned + serde::Serialize>(document: &Value) -> T {
    let object: T = serde_json::from_value(document.clone())
        .unwrap_or_else(|error| panic!("{}: {error}", name_of(document)));
    let again = serde_json::to_value(&object).unwrap();
    let mut wrong = Vec::new();
    differences(document, &again, "", &mut wrong);
    assert!(wrong.is_empty(), "{}: unknown to the API: {wrong:?}", name_of(document));
    object
}

fn differences(one: &Value, other: &Value, path: &str, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
                let below = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                differences(&below(one), &below(other), &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(one, other, &format!("{path}[{index}]"), found);
            }
        }
        (one, other) if one == other => {}
        _ => found.push(path.to_owned()),
    }
}

fn all<T: DeserializeOwned + serde::Serialize>(kind: &str) -> Vec<T> {
    documents().iter().filter(|document| document["kind"] == kind).map(strict).collect()
}

fn only<T: DeserializeOwned + serde::Serialize>(kind: &str) -> T {
    let mut all = all(kind);
    assert_eq!(all.len(), 1, "{kind}");
    all.remove(0)
}

fn templates() -> Vec<PodTemplateSpec> {
    let agent = only::<DaemonSet>("DaemonSet").spec.unwrap().template;
    let control = only::<Deployment>("Deployment").spec.unwrap().template;
    vec![agent, control]
}

fn pods() -> Vec<PodSpec> {
    templates().into_iter().map(|template| template.spec.unwrap()).collect()
}

fn containers(pod: &PodSpec) -> Vec<&Container> {
    pod.init_containers.iter().flatten().chain(&pod.containers).collect()
}

fn settings() -> toml::Table {
    toml::from_str(&text("fairway.toml")).unwrap()
}

fn variables() -> BTreeMap<String, String> {
    let text = text("control.env");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once('=').unwrap()).map(|(key, value)| (key.into(), value.into())).collect()
}

#[test]
fn every_document_is_one_of_the_kubernetes_api_without_a_field_that_it_does_not_know() {
    for document in documents() {
        match (document["apiVersion"].as_str().unwrap(), document["kind"].as_str().unwrap()) {
            ("v1", "ServiceAccount") => drop(strict::<ServiceAccount>(&document)),
            ("rbac.authorization.k8s.io/v1", "ClusterRole") => drop(strict::<ClusterRole>(&document)),
            ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
                drop(strict::<ClusterRoleBinding>(&document))
            }
            ("apps/v1", "DaemonSet") => drop(strict::<DaemonSet>(&document)),
            ("apps/v1", "Deployment") => drop(strict::<Deployment>(&document)),
            ("policy/v1", "PodDisruptionBudget") => drop(strict::<PodDisruptionBudget>(&document)),
            (version, kind) => panic!("{version} {kind}: not checked"),
        }
    }
}

#[test]
fn a_field_that_the_api_does_not_know_is_found() {
    let mut document = documents().into_iter().find(|document| document["kind"] == "DaemonSet").unwrap();
    document["spec"]["template"]["spec"]["hostNetworks"] = true.into();
    let object: DaemonSet = serde_json::from_value(document.clone()).unwrap();
    let mut wrong = Vec::new();
    differences(&document, &serde_json::to_value(&object).unwrap(), "", &mut wrong);
    assert_eq!(wrong, [".spec.template.spec.hostNetworks"]);
}

#[test]
fn the_kustomization_names_every_file_and_nothing_that_is_not_there() {
    let kustomization = kustomization();
    assert_eq!(kustomization.api_version, "kustomize.config.k8s.io/v1beta1");
    assert_eq!(kustomization.kind, "Kustomization");
    let generated =
        kustomization.config_map_generator.iter().flat_map(|one| one.files.iter().chain(&one.envs));
    let mut named: Vec<&str> = kustomization.resources.iter().chain(generated).map(String::as_str).collect();
    named.push("kustomization.yaml");
    named.sort_unstable();
    let entries = fs::read_dir(folder()).unwrap();
    let mut there: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    there.sort_unstable();
    assert_eq!(named, there);
    for document in documents() {
        let namespace = document["metadata"]["namespace"].as_str();
        let is_of_the_cluster = name_of(&document).starts_with("ClusterRole");
        assert_eq!(
            namespace,
            (!is_of_the_cluster).then_some(kustomization.namespace.as_str()),
            "{}",
            name_of(&document)
        );
    }
}

#[test]
fn every_image_is_one_that_the_kustomization_replaces() {
    let [image] = &kustomization().images[..] else { panic!("one image") };
    assert!(image.new_name.ends_with("/fairway"), "{}", image.new_name);
    assert_eq!(image.new_tag, env!("CARGO_PKG_VERSION"));
    for pod in pods() {
        assert!(
            containers(&pod).iter().all(|container| container.image.as_deref() == Some(image.name.as_str()))
        );
    }
}

/// Whether the documents, or the steps in README.md, make an object.
fn is_made(kind: &str, name: &str) -> bool {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let generated = kustomization().config_map_generator;
    match kind {
        "configmap" if OF_KUBERNETES.contains(&name) || generated.iter().any(|one| one.name == name) => true,
        _ => readme.contains(&format!("create {kind} {name} ")),
    }
}

fn of_volume(volume: &Volume) -> Option<(&'static str, String)> {
    let map = volume.config_map.as_ref().map(|map| ("configmap", map.name.clone()));
    map.or_else(|| Some(("secret tls", volume.secret.as_ref()?.secret_name.clone()?)))
}

#[test]
fn whatever_a_pod_names_is_there() {
    let accounts: Vec<ServiceAccount> = all("ServiceAccount");
    for pod in pods() {
        let account = pod.service_account_name.as_deref().unwrap();
        assert!(accounts.iter().any(|one| one.metadata.name.as_deref() == Some(account)), "{account}");
        let volumes = pod.volumes.as_deref().unwrap_or_default();
        for (kind, name) in volumes.iter().filter_map(of_volume) {
            assert!(is_made(kind, &name), "{kind} {name}");
        }
        let sources = containers(&pod).into_iter().flat_map(|container| container.env_from.iter().flatten());
        for name in sources.map(|source| source.config_map_ref.as_ref().unwrap().name.clone()) {
            assert!(is_made("configmap", &name), "{name}");
        }
        let mounts =
            || containers(&pod).into_iter().flat_map(|container| container.volume_mounts.iter().flatten());
        let mounted: BTreeSet<&str> = mounts().map(|mount| mount.name.as_str()).collect();
        assert_eq!(mounted, volumes.iter().map(|volume| volume.name.as_str()).collect());
        // The mount point of one below another cannot be made where that one is read-only.
        let below = |path: &str| mounts().any(|other| path.starts_with(&format!("{}/", other.mount_path)));
        assert!(mounts().all(|mount| !below(&mount.mount_path)));
    }
}

#[test]
fn labels_and_selectors_fit() {
    let agent = only::<DaemonSet>("DaemonSet").spec.unwrap().selector.match_labels;
    let control = only::<Deployment>("Deployment").spec.unwrap().selector.match_labels;
    let budget =
        only::<PodDisruptionBudget>("PodDisruptionBudget").spec.unwrap().selector.unwrap().match_labels;
    assert_eq!(budget, control);
    for (selector, template) in [agent, control].iter().zip(templates()) {
        let labels = template.metadata.unwrap().labels.unwrap();
        assert!(selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value)), "{labels:?}");
    }
}

#[test]
fn the_control_plane_may_do_what_it_needs_and_agents_nothing() {
    let binding: ClusterRoleBinding = only("ClusterRoleBinding");
    let role: ClusterRole = only("ClusterRole");
    assert_eq!(Some(&binding.role_ref.name), role.metadata.name.as_ref());
    assert_eq!(
        (binding.role_ref.kind.as_str(), binding.role_ref.api_group.as_str()),
        ("ClusterRole", "rbac.authorization.k8s.io")
    );
    let subjects = binding.subjects.unwrap();
    let subjects: Vec<_> =
        subjects.iter().map(|one| (one.kind.as_str(), one.name.as_str(), one.namespace.as_deref())).collect();
    assert_eq!(subjects, [("ServiceAccount", "fairway-control", Some("kube-system"))]);
    let mut rights = Vec::new();
    for rule in role.rules.unwrap() {
        assert!(rule.non_resource_urls.is_none());
        for group in rule.api_groups.unwrap() {
            for resource in rule.resources.iter().flatten() {
                rights.push(format!("{group}/{resource}: {}", rule.verbs.join(" ")));
            }
        }
    }
    rights.sort();
    assert_eq!(
        rights,
        [
            "/nodes/status: patch",
            "/nodes: get list watch",
            "/services: get list watch",
            "discovery.k8s.io/endpointslices: get list watch",
            "events.k8s.io/events: create",
        ]
    );
    let agent = &pods()[0];
    assert_eq!(agent.automount_service_account_token, Some(false));
}

#[test]
fn containers_have_no_more_privilege_than_is_listed() {
    for pod in pods() {
        assert!(!pod.host_pid.unwrap_or_default() && !pod.host_ipc.unwrap_or_default());
        for container in containers(&pod) {
            let context = container.security_context.as_ref().unwrap();
            assert!(!context.privileged.unwrap_or_default(), "{}", container.name);
            assert_eq!(context.read_only_root_filesystem, Some(true), "{}", container.name);
            let capabilities = context.capabilities.as_ref().unwrap();
            assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]), "{}", container.name);
            let added = capabilities.add.clone().unwrap_or_default();
            let expected: &[&str] = match container.name.as_str() {
                "fairway-agent" => &["BPF", "PERFMON", "NET_ADMIN", "SYS_ADMIN"],
                _ => &[],
            };
            assert_eq!(added, expected, "{}", container.name);
        }
    }
    let control = pods().remove(1);
    assert_eq!(control.security_context.unwrap().run_as_non_root, Some(true));
}

#[test]
fn the_agents_settings_lead_to_what_is_mounted() {
    let (settings, agent) = (settings(), pods().remove(0));
    let container = &agent.containers[0];
    let mounts: Vec<&str> =
        container.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str()).collect();
    let is_mounted = |path: &str| mounts.iter().any(|mount| Path::new(path).starts_with(mount));
    for key in ["tls-cert", "tls-key", "tls-ca", "cgroup", "cni-conf"] {
        let path = settings[key].as_str().unwrap();
        assert!(is_mounted(path), "{key}: {path}");
    }
    for default in ["/run/fairway/agent.sock", "/var/lib/fairway", "/sys/fs/bpf/fairway"] {
        assert!(is_mounted(default), "{default}");
    }
    let file = container.args.as_ref().unwrap()[0].strip_prefix("--config=").unwrap();
    assert!(is_mounted(file), "{file}");
    // What the plugin and the runtime find outside of the container has the same path inside.
    for volume in agent.volumes.iter().flatten() {
        let Some(of_host) = &volume.host_path else { continue };
        let mount = container.volume_mounts.iter().flatten().find(|mount| mount.name == volume.name);
        let moved = ["cgroup", "sysctl", "plugins"].contains(&volume.name.as_str());
        assert!(moved || mount.is_some_and(|mount| mount.mount_path == of_host.path), "{}", of_host.path);
    }
}

#[test]
fn addresses_and_ports_fit_together() {
    let (settings, variables) = (settings(), variables());
    let [agent, control] = &pods()[..] else { panic!("two pods") };
    let port = |address: &str| address.rsplit(':').next().unwrap().parse::<i32>().unwrap();
    let listen = port(&variables["LISTEN"]);
    let addresses = settings["control"].as_array().unwrap();
    assert!(addresses.iter().all(|address| port(address.as_str().unwrap()) == listen));
    assert_eq!(control.containers[0].ports.as_ref().unwrap()[0].container_port, listen);
    let health = port(settings["health-address"].as_str().unwrap());
    let container = &agent.containers[0];
    let probes = [&container.startup_probe, &container.liveness_probe, &container.readiness_probe];
    let pages: Vec<String> = probes
        .into_iter()
        .map(|probe| {
            let get = probe.as_ref().unwrap().http_get.clone().unwrap();
            assert_eq!(serde_json::to_value(&get.port).unwrap(), health);
            assert_eq!(get.host.as_deref(), Some("127.0.0.1"));
            get.path.unwrap()
        })
        .collect();
    assert_eq!(pages, ["/livez", "/livez", "/readyz"]);
    // Whatever the arguments take from the environment is there.
    let args = control.containers[0].args.as_ref().unwrap();
    let used: BTreeSet<&str> =
        args.iter().filter_map(|arg| arg.split_once("$(")?.1.strip_suffix(')')).collect();
    assert_eq!(used, variables.keys().map(String::as_str).collect());
    assert!(variables["KUBE_SERVER"].starts_with("https://"));
}

#[test]
fn everything_runs_without_the_network_that_it_makes() {
    for pod in pods() {
        assert_eq!(pod.host_network, Some(true));
        assert_eq!(pod.dns_policy.as_deref(), Some("Default"));
        assert_eq!(pod.enable_service_links, Some(false));
        assert!(
            pod.tolerations
                .iter()
                .flatten()
                .any(|one| one.operator.as_deref() == Some("Exists") && one.key.is_none())
        );
    }
    let classes: Vec<_> = pods().into_iter().map(|pod| pod.priority_class_name.unwrap()).collect();
    assert_eq!(classes, ["system-node-critical", "system-cluster-critical"]);
}

#[test]
fn cert_manager_writes_the_secret_that_is_mounted() {
    let text = fs::read_to_string(root().join("deploy/cert-manager/certificates.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let secrets: Vec<&str> = documents.iter().filter_map(|one| one["spec"]["secretName"].as_str()).collect();
    let mounted = pods().remove(1).volumes.unwrap();
    let mounted = mounted.iter().filter_map(of_volume).find(|(kind, _)| *kind == "secret tls").unwrap().1;
    assert!(secrets.contains(&mounted.as_str()), "{secrets:?}");
}
