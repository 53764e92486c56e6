use serde_json::{Value, json};

use super::Kind;
use super::kind::Target;
use super::patch::{Form, apply_status, merge};
use super::selector::Selector;
use super::store::Store;

fn service(name: &str, labels: Value) -> Value {
    let metadata = json!({ "namespace": "shop", "name": name, "labels": labels });
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": { "type": "ClusterIP" } })
}

fn selects(labels: &str, fields: &str, object: &Value) -> bool {
    Selector::parse(labels, fields).unwrap().matches(object)
}

#[test]
fn selectors_are_read_as_kubectl_writes_them() {
    let object = service("web", json!({ "app": "web", "tier": "front" }));
    for labels in
        ["", "app=web", "app==web,tier!=back", "app", "!proxy", "app in (web, db),tier notin (back)"]
    {
        assert!(selects(labels, "", &object), "{labels}");
    }
    for labels in ["app=db", "!app", "proxy", "app notin (web)", "tier in (back),app"] {
        assert!(!selects(labels, "", &object), "{labels}");
    }
    assert!(selects("", "metadata.name=web,metadata.namespace!=default", &object));
    assert!(!selects("", "metadata.name=db", &object));
    assert!(Selector::parse("app=web tier", "spec.ports=1").is_err());
    assert!(Selector::parse("a b", "").is_err());
}

#[test]
fn paths_name_kinds() {
    let target = Target::parse("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-1").unwrap();
    assert_eq!((target.kind, target.namespace.as_deref()), (Kind::EndpointSlice, Some("shop")));
    assert_eq!(target.name.as_deref(), Some("web-1"));
    let target = Target::parse("/api/v1/nodes/a/status").unwrap();
    assert_eq!((target.kind, target.subresource.as_deref()), (Kind::Node, Some("status")));
    assert!(Target::parse("/api/v1/services").is_some());
    for nothing in
        ["/api/v1/endpointslices", "/api/v1/services/web", "/api/v1/namespaces/shop/nodes", "/version"]
    {
        assert!(Target::parse(nothing).is_none(), "{nothing}");
    }
}

#[test]
fn versions_grow_with_changes_and_only_with_these() {
    let mut store = Store::default();
    let first = store.put(service("web", json!({}))).unwrap();
    let revision = store.revision();
    assert_eq!(first["metadata"]["resourceVersion"], revision.to_string());
    let again = store.put(service("web", json!({}))).unwrap();
    assert_eq!((again, store.revision()), (first.clone(), revision));
    let changed = store.put(service("web", json!({ "app": "web" }))).unwrap();
    assert_eq!(changed["metadata"]["uid"], first["metadata"]["uid"]);
    store.remove(&(Kind::Service, "shop".into(), "web".into())).unwrap();
    assert_eq!(store.since(revision).len(), 2);
    assert_eq!(store.at(revision).unwrap().len(), 1);
    store.compact();
    assert!(store.at(revision).is_none() && store.compacted() == revision + 2);
}

#[test]
fn a_merge_patch_replaces_lists_and_a_strategic_one_merges_conditions() {
    let old = json!({ "conditions": [{ "type": "Ready", "status": "True" }], "phase": "x" });
    let patch = json!({ "conditions": [{ "type": "NetworkUnavailable", "status": "False" }], "phase": null });
    let (mut merged, mut strategic) = (old.clone(), old);
    merge(Form::Merge, &mut merged, &patch);
    merge(Form::Strategic, &mut strategic, &patch);
    assert_eq!(merged, json!({ "conditions": patch["conditions"] }));
    assert_eq!(strategic["conditions"].as_array().unwrap().len(), 2);
}

#[test]
fn an_applied_condition_has_an_owner() {
    let mut node = json!({ "metadata": { "name": "a" }, "status": {} });
    let condition = |status: &str| json!({ "status": { "conditions": [{ "type": "NetworkUnavailable", "status": status }] } });
    apply_status(&mut node, &condition("True"), "cloud", false).unwrap();
    assert_eq!(apply_status(&mut node, &condition("False"), "fairway", false).unwrap_err().code, 409);
    apply_status(&mut node, &condition("True"), "fairway", false).unwrap();
    apply_status(&mut node, &condition("False"), "fairway", true).unwrap();
    assert_eq!(node["status"]["conditions"][0]["status"], "False");
}
