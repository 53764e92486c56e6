//! The state on disk: whole, or ignored.

use super::super::disk::{self, Saver};
use super::super::received::{Complete, Received};
use super::*;
use fairway_proto::model::{ObjectName, Resource, ResourceKey};

/// What is kept, as a pair.
fn load(dir: &Path) -> Result<Option<(Version, Arc<Cluster>)>, disk::Error> {
    Ok(disk::load(dir)?.map(|kept| (kept.version, kept.cluster)))
}

fn cluster() -> Arc<Cluster> {
    match Received::default().take(snapshot(1, web())) {
        Some(Complete::Accepted { cluster, .. }) => cluster,
        other => panic!("{other:?}"),
    }
}

fn changed() -> Arc<Cluster> {
    let mut cluster = (*cluster()).clone();
    cluster.insert((&slice("web", "10.0.0.9")).try_into().unwrap());
    cluster.insert((&service("new", "10.96.0.9")).try_into().unwrap());
    cluster.remove(&ResourceKey::Service(ObjectName::new("default", "web")));
    Arc::new(cluster)
}

#[test]
fn the_last_state_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load(dir.path()).unwrap().is_none());
    let mut saver = Saver::new(dir.path());
    let states = [(1, Arc::default()), (2, cluster()), (3, changed()), (4, changed()), (5, cluster())];
    for (number, state) in &states {
        saver.save(version(*number), state).unwrap();
        let (loaded, cluster) = load(dir.path()).unwrap().unwrap();
        assert_eq!((loaded, cluster), (version(*number), state.clone()));
    }
    // The next process begins with a whole state again.
    Saver::new(dir.path()).save(version(6), &changed()).unwrap();
    assert_eq!(load(dir.path()).unwrap().unwrap(), (version(6), changed()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn a_change_is_written_behind_the_state_and_the_file_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let size = || std::fs::metadata(dir.path().join("cluster.pb")).unwrap().len();
    let mut saver = Saver::new(dir.path());
    let mut whole = (*cluster()).clone();
    (0..500).for_each(|it| whole.insert((&slice(&format!("s{it}"), "10.0.0.1")).try_into().unwrap()));
    saver.save(version(0), &Arc::new(whole.clone())).unwrap();
    let (first, mut largest) = (size(), 0);
    for number in 1..=300 {
        let mut large = (**whole.services.values().next().unwrap()).clone();
        large.annotations.insert("fairway.dev/note".into(), number.to_string().repeat(3_000));
        whole.insert(Resource::Service(large));
        let before = size();
        saver.save(version(number), &Arc::new(whole.clone())).unwrap();
        assert!(size() < before + 10_000, "one Service");
        largest = size().max(largest);
    }
    assert!(first < largest && largest < first + (1 << 20) + 30_000, "{first} {largest}");
    assert_eq!(load(dir.path()).unwrap().unwrap(), (version(300), Arc::new(whole)));
}

#[test]
fn a_change_that_was_cut_or_damaged_leaves_the_state_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut saver = Saver::new(dir.path());
    saver.save(version(1), &cluster()).unwrap();
    let path = dir.path().join("cluster.pb");
    let first = std::fs::read(&path).unwrap().len();
    saver.save(version(2), &changed()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in first..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(load(dir.path()).unwrap().unwrap(), (version(1), cluster()), "{length}");
    }
    for index in first..whole.len() {
        let mut damaged = whole.clone();
        damaged[index] ^= 0x10;
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(load(dir.path()).unwrap().unwrap(), (version(1), cluster()), "{index}");
    }
}

#[test]
fn a_file_that_was_cut_or_changed_anywhere_is_ignored_by_name() {
    let dir = tempfile::tempdir().unwrap();
    Saver::new(dir.path()).save(version(1), &cluster()).unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_another_version_serves_what_was_kept_and_asks_for_all_that_it_may_lack() {
    let dir = tempfile::tempdir().unwrap();
    let named = Version { digest: 5, ..version(1) };
    Saver::new(dir.path()).save(named, &cluster()).unwrap();
    assert_eq!(disk::load(dir.path()).unwrap().unwrap().name(), named);
    Saver::of("0.0.1", dir.path()).save(named, &cluster()).unwrap();
    let mut control = FakeControl::start(dir.path()).await;
    let agent = Agent::start(dir.path(), Some(control.source()), empty());
    assert_eq!(control.hello().await.applied, Some(Version::default()));
    agent.serves(WEB).await;
    eventually("applied", || (agent.state.borrow().applied == Some(named)).then_some(())).await;
    let newer = Version { epoch: 7, number: 2, digest: 6 };
    control.send(SubscribeResponse { version: Some(newer), ..snapshot(2, web()) }).await;
    assert_eq!(control.answer().await, Ok(newer));
    control.cut();
    assert_eq!(control.hello().await.applied, Some(newer));
    agent.stop().await;
}
