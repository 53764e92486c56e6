//! The state on disk: whole, or ignored.

use super::super::disk::{load, save};
use super::super::received::{Complete, Received};
use super::*;

fn cluster() -> Arc<Cluster> {
    match Received::default().take(snapshot(1, web())) {
        Some(Complete::Accepted { cluster, .. }) => cluster,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_state_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load(dir.path()).unwrap().is_none());
    save(dir.path(), version(1), &Cluster::default()).unwrap();
    save(dir.path(), version(2), &cluster()).unwrap();
    let (number, loaded) = load(dir.path()).unwrap().unwrap();
    assert_eq!((number, loaded), (version(2), cluster()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn a_file_that_was_cut_or_changed_anywhere_is_ignored_by_name() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), version(1), &cluster()).unwrap();
    let path = dir.path().join("cluster.pb");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("cluster.pb` is ignored"), "{length}: {error}");
    }
    for index in 0..whole.len() {
        let mut changed = whole.clone();
        changed[index] ^= 0x10;
        std::fs::write(&path, changed).unwrap();
        assert!(load(dir.path()).is_err(), "{index}");
    }
}
