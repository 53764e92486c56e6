//! A directory of files: what one bad file, or a directory that is away, does to the rest.

use std::fs;
use std::path::Path;

use super::*;

fn node_file(directory: &Path, file: &str, node: &str) {
    fs::write(directory.join(file), format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {node}}}\n"))
        .unwrap();
}

fn nodes(directory: &mut Directory) -> Vec<String> {
    directory.declarations().nodes.keys().cloned().collect()
}

#[test]
fn a_broken_file_keeps_its_last_good_state() {
    let at = tempfile::tempdir().unwrap();
    let mut directory = Directory::new(at.path());
    node_file(at.path(), "a.yaml", "a");
    node_file(at.path(), "b.yaml", "b");
    assert!(directory.refresh());
    assert!(!directory.refresh());
    for broken in ["kind: [", "", "kind: Node\n"] {
        fs::write(at.path().join("a.yaml"), broken).unwrap();
        assert!(directory.refresh());
        assert_eq!(nodes(&mut directory), ["a", "b"]);
        let declarations = directory.declarations();
        assert_eq!(declarations.problems.len(), 1);
        assert!(declarations.complete);
    }
    node_file(at.path(), "a.yaml", "a2");
    directory.refresh();
    assert_eq!(nodes(&mut directory), ["a2", "b"]);
    assert_eq!(directory.declarations().problems, []);
    fs::remove_file(at.path().join("a.yaml")).unwrap();
    directory.refresh();
    assert_eq!(nodes(&mut directory), ["b"]);
}

#[test]
fn a_directory_that_went_away_keeps_everything() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("manifests");
    let mut directory = Directory::new(&path);
    assert!(directory.refresh());
    assert!(!directory.declarations().complete);
    assert_eq!(directory.declarations().problems[0].cause, Cause::DirectoryMissing);
    fs::create_dir(&path).unwrap();
    node_file(&path, "a.yaml", "a");
    assert!(directory.refresh());
    assert!(directory.declarations().complete);
    fs::remove_dir_all(&path).unwrap();
    assert!(directory.refresh());
    assert_eq!(nodes(&mut directory), ["a"]);
}

// S104
#[test]
fn a_file_that_never_was_good_leaves_the_state_incomplete() {
    let at = tempfile::tempdir().unwrap();
    node_file(at.path(), "a.yaml", "a");
    fs::write(at.path().join("b.yaml"), "kind: [").unwrap();
    let mut directory = Directory::new(at.path());
    directory.refresh();
    assert_eq!(nodes(&mut directory), ["a"]);
    assert!(!directory.declarations().complete);
}

#[test]
fn of_two_declarations_the_first_by_file_name_is_used_and_both_are_named() {
    let at = tempfile::tempdir().unwrap();
    for (file, zone) in [("b.yaml", "zb"), ("a.yaml", "za")] {
        let text = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n, labels: {{topology.kubernetes.io/zone: {zone}}}}}\n"
        );
        fs::write(at.path().join(file), text).unwrap();
    }
    let mut directory = Directory::new(at.path());
    directory.refresh();
    let declarations = directory.declarations();
    assert_eq!(declarations.nodes["n"].value.zone.as_deref(), Some("za"));
    assert_eq!(
        declarations.problems[0].to_string(),
        "b.yaml:1:1: Node n: is declared in a.yaml:1 too, and that one is used: remove one of them"
    );
}

#[test]
fn hidden_files_and_other_extensions_are_left_alone() {
    let at = tempfile::tempdir().unwrap();
    for file in [".a.yaml.swp", ".hidden.yaml", "notes.txt", "a.yaml~"] {
        fs::write(at.path().join(file), "kind: [").unwrap();
    }
    let mut directory = Directory::new(at.path());
    directory.refresh();
    assert_eq!(directory.declarations().problems, []);
}
