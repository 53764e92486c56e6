use super::super::state::Record;
use super::super::state::tests;
use super::*;

fn record(container_id: &str, address: &str) -> Record {
    tests::record(container_id, container_id, address)
}

fn names(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// A state with a pod, a status and a last address, as it is without pending changes.
fn filled() -> State {
    let mut state = State::default();
    let pod = Record { addresses: Vec::new(), ..record("a", "::") };
    state.reserve(&["10.0.1.0/24".parse().unwrap()], pod).unwrap();
    state.set_status("default", "a", true, false);
    state
}

#[tokio::test]
async fn what_was_written_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("new");
    let (store, state) = Store::open(&inside).unwrap();
    assert_eq!(state, State::default());
    let mut state = filled();
    store.write(state.take_changes()).await.unwrap();
    drop(store);
    assert_eq!(Store::open(&inside).unwrap().1, state);
    assert_eq!(peek(&inside).unwrap(), state);
    assert_eq!(names(&inside), ["pods.redb"], "no temporary file stays");
}

#[tokio::test]
async fn a_row_that_goes_is_not_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut state) = Store::open(directory.path()).unwrap();
    state.put(record("a", "10.0.1.2"));
    state.put(record("b", "10.0.1.3"));
    // Changes that wait together are written in their order.
    let first = store.write(state.take_changes());
    state.remove(&record("a", "10.0.1.2"));
    let second = store.write(state.take_changes());
    second.await.unwrap();
    first.await.unwrap();
    drop(store);
    let read = Store::open(directory.path()).unwrap().1;
    assert_eq!(read.pods(), [record("b", "10.0.1.3")]);
}

#[test]
fn the_file_of_an_earlier_release_is_taken_over_once() {
    let directory = tempfile::tempdir().unwrap();
    let old = serde_json::json!({
        "layout": 1,
        "ipam": { "last": { "10.0.1.0/24": "10.0.1.2" } },
        "pods": [{
            "container_id": "a", "interface": "eth0", "netns": "/run/netns/a", "namespace": "default",
            "name": "a", "node_interface": "fw0", "ifindex": 7, "addresses": ["10.0.1.2"],
            "pod_mac": [2, 2, 2, 2, 2, 2], "node_mac": [6, 6, 6, 6, 6, 6], "complete": true,
        }],
        "statuses": [{ "namespace": "default", "name": "a", "ready": true, "terminating": false }],
    });
    std::fs::write(directory.path().join("pods.json"), old.to_string()).unwrap();
    // As a start that was killed leaves it.
    std::fs::write(directory.path().join("pods.redb.new"), "half").unwrap();
    let state = Store::open(directory.path()).unwrap().1;
    assert_eq!(state.pods(), [record("a", "10.0.1.2")]);
    assert!(state.entries()[0].ready);
    let next = state.next_addresses(&["10.0.1.0/24".parse().unwrap()]).unwrap();
    assert_eq!(next[0].to_string(), "10.0.1.3");
    assert_eq!(names(directory.path()), ["pods.json.imported", "pods.redb"]);
    assert_eq!(Store::open(directory.path()).unwrap().1, state);
}

#[test]
fn a_damaged_or_foreign_file_of_an_earlier_release_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pods.json");
    std::fs::write(&file, "{\"layout\":1,\"pods\":[").unwrap();
    assert!(matches!(Store::open(directory.path()), Err(Error::State { .. })));
    std::fs::write(&file, "{\"layout\":9}").unwrap();
    assert!(matches!(Store::open(directory.path()), Err(Error::Layout { found: 9, .. })));
    assert_eq!(names(directory.path()), ["pods.json"]);
}

#[tokio::test]
async fn a_damaged_database_is_named_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path()).unwrap();
    store.write(filled().take_changes()).await.unwrap();
    drop(store);
    let path = directory.path().join("pods.redb");
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    let record = flipped.windows(9).position(|window| window == b"container").unwrap();
    flipped[record] ^= 1;
    for damaged in [&b"no database"[..], &whole[..whole.len() / 2], &whole[..100], &flipped] {
        std::fs::write(&path, damaged).unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        let text = super::super::error::chain(&error);
        assert!(matches!(error, Error::Damaged { .. }), "{text}");
        assert!(text.contains("pods.redb") && text.contains("move it away"), "{text}");
        assert!(std::fs::read(&path).unwrap() == damaged, "it was changed: {text}");
    }
}

#[test]
fn what_could_not_be_written_is_written_with_what_comes_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pods.redb");
    drop(Store::open(directory.path()).unwrap());
    let mut state = State::default();
    let mut writer = Writer { path: path.clone(), database: None, changes: Vec::new() };
    // It cannot be opened while it is open for someone else.
    let elsewhere = open(&path).unwrap();
    state.put(record("a", "10.0.1.2"));
    writer.changes.extend(state.take_changes());
    writer.flush().unwrap_err();
    drop(elsewhere);
    state.put(record("b", "10.0.1.3"));
    writer.changes.extend(state.take_changes());
    writer.flush().unwrap();
    drop(writer);
    assert_eq!(peek(directory.path()).unwrap(), state);
}
