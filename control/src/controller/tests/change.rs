//! A change of nothing but endpoints, computed from what is different: as if everything were computed anew.

use std::fs;

use super::*;
use crate::source::Directory;

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: 10.96.0.2, ports: [{port: 80}]}
";

fn slice(name: &str, service: &str, label: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}\n  \
         labels: {{kubernetes.io/service-name: {service}{label}}}\naddressType: IPv4\nports: [{{port: 80}}]\n\
         endpoints: [{{addresses: [{address}]}}]\n"
    )
}

fn endpoints(address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Endpoints\nmetadata: {{name: db}}\nsubsets: [{{addresses: [{{ip: {address}}}], \
         ports: [{{port: 80}}]}}]\n"
    )
}

#[test]
fn a_change_of_endpoints_alone_comes_to_the_same_as_computing_everything() {
    const CONTROLLER: &str = ", endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io";
    const MIRROR: &str = ", endpointslice.kubernetes.io/managed-by: endpointslicemirroring-controller.k8s.io";
    /// The step from which on one slice is declared twice, until it is not again.
    const TWICE: usize = 10;
    const HEADLESS: &str = ", service.kubernetes.io/headless: ''";
    let at = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| fs::write(at.path().join(file), text).unwrap();
    write("services.yaml", &(SERVICES.to_owned() + &pod("web-1", 80, READY)));
    write("a.yaml", &slice("web-a", "web", "", "10.0.0.1"));
    let mut directory = Directory::new(at.path());
    directory.refresh();
    let mut before = directory.declarations();
    let Resolved { mut resources, mut basis, .. } = resolve(&before, &Agents::default());
    let steps: [(&str, Option<String>); 12] = [
        ("a.yaml", Some(slice("web-a", "web", "", "10.0.0.2"))),
        ("b.yaml", Some(slice("web-b", "web", CONTROLLER, "10.0.0.3"))),
        ("c.yaml", Some(endpoints("10.0.0.4"))),
        ("d.yaml", Some(slice("db-1", "db", MIRROR, "10.0.0.5"))),
        ("c.yaml", Some(endpoints("10.0.0.6"))),
        ("d.yaml", Some(slice("db-2", "db", "", "10.0.0.5"))),
        ("d.yaml", Some(slice("db-2", "web", HEADLESS, "10.0.0.5"))),
        ("c.yaml", None),
        ("a.yaml", Some("kind: [".to_owned())),
        ("a.yaml", None),
        ("e.yaml", Some(slice("db-2", "db", "", "10.0.0.7"))),
        ("d.yaml", None),
    ];
    for (number, (file, text)) in steps.into_iter().enumerate() {
        match text {
            Some(text) => write(file, &text),
            None => fs::remove_file(at.path().join(file)).unwrap(),
        }
        directory.refresh_some([file.into()]);
        let after = directory.declarations();
        let anew = resolve(&after, &Agents::default());
        let Some((changes, problems)) = resolve_change(&before, &after, &basis) else {
            // Where an object is declared twice all files are merged anew.
            assert!(number >= TWICE, "step {number}");
            (resources, basis, before) = (anew.resources, anew.basis, after);
            continue;
        };
        for (key, resource) in changes {
            match resource {
                Some(resource) => drop(resources.insert(key, resource)),
                None => drop(resources.remove(&key)),
            }
        }
        assert_eq!(resources, anew.resources, "step {number}");
        assert_eq!(problems, anew.problems, "step {number}");
        before = after;
    }
}

#[test]
fn a_change_of_more_than_endpoints_is_computed_anew() {
    let at = tempfile::tempdir().unwrap();
    let mut directory = Directory::new(at.path());
    let mut read = |text: &str| {
        fs::write(at.path().join("a.yaml"), text).unwrap();
        directory.refresh_some(["a.yaml".into()]);
        directory.declarations()
    };
    let before = read(SERVICES);
    let basis = resolve(&before, &Agents::default()).basis;
    assert!(resolve_change(&before, &read(&SERVICES.replace("80", "81")), &basis).is_none());
}
