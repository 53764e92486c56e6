use super::super::Families;
use super::*;

fn pod(name: &str, node: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{{node}}}\n")
}

#[test]
fn pods_without_a_node_spread_over_the_nodes_and_stay_there() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = Manifests::new(directory.path().join("m"), Plan { nodes: 2, families: Families::Dual });
    let text = [pod("a", ""), pod("b", ""), pod("c", "nodeName: node1")].concat();
    let nodes = |objects: &[Object]| -> Vec<String> {
        objects.iter().map(|o| o.node().unwrap().to_owned()).collect()
    };
    assert_eq!(nodes(&manifests.apply_text(&text).unwrap()), ["node2", "node1", "node1"]);
    assert_eq!(nodes(&manifests.apply_text(&pod("a", "containers: []")).unwrap()), ["node2"]);
}

#[test]
fn a_pod_on_a_node_that_is_not_there_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = Manifests::new(directory.path().join("m"), Plan { nodes: 2, families: Families::Dual });
    let error = manifests.apply_text(&pod("a", "nodeName: node9")).unwrap_err();
    assert_eq!(error.to_string(), "pod `default/a` asks for node `node9`, and the lab has no such node");
}

#[test]
fn a_written_object_reads_back_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = Manifests::new(directory.path().join("m"), Plan { nodes: 1, families: Families::Dual });
    let text = "kind: Service\nmetadata: {name: web, annotations: {a: 'yes', b: '1', c: \"x: # y\"}}\n";
    let applied = manifests.apply_text(text).unwrap();
    assert_eq!(manifests.all().0, applied);
}
