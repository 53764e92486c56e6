use std::collections::BTreeMap;

use bytes::BytesMut;
use fairway_proto::control::{SubscribeResponse, Version};
use fairway_proto::model::{Change, Node, Resource, ResourceKey};
use proptest::prelude::*;
use prost::Message;

use super::codec::write;
use super::cursor::Cursor;
use super::store::Store;

type Resources = BTreeMap<ResourceKey, Resource>;

fn node(name: u8, value: u8) -> Resource {
    Resource::Node(Node {
        name: format!("n{name}"),
        addresses: vec![std::net::Ipv4Addr::new(10, 0, 0, value).into()],
        pod_cidrs: Vec::new(),
        zone: None,
        object: None,
    })
}

fn resources(nodes: impl IntoIterator<Item = (u8, u8)>) -> Resources {
    nodes.into_iter().map(|(name, value)| node(name, value)).map(|node| (node.key(), node)).collect()
}

/// An agent: applies complete versions only, as the contract says.
#[derive(Default)]
struct Client {
    state: Resources,
    applied: Option<Version>,
    pending: Vec<SubscribeResponse>,
}

impl Client {
    /// Reads one response, if there is one.
    fn read(&mut self, cursor: &mut Cursor, store: &Store) -> Option<SubscribeResponse> {
        let frame = cursor.next(store)?;
        let mut bytes = BytesMut::new();
        write(&frame, &mut bytes);
        assert!(bytes.len() < 1024 * 1024);
        let response = SubscribeResponse::decode(bytes).unwrap();
        self.pending.push(response.clone());
        if response.complete {
            self.apply();
        }
        Some(response)
    }

    fn apply(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        assert!(pending.iter().all(|response| response.version == pending[0].version));
        if pending[0].snapshot {
            self.state.clear();
        }
        for response in &pending {
            for change in response.changed.iter().map(|resource| Change::Insert(resource.try_into().unwrap()))
            {
                let Change::Insert(resource) = change else { unreachable!() };
                self.state.insert(resource.key(), resource);
            }
            for name in &response.removed {
                self.state.remove(&ResourceKey::try_from(name).unwrap());
            }
        }
        self.applied = pending[0].version;
    }
}

#[test]
fn the_first_answer_is_a_snapshot_and_the_next_ones_are_deltas() {
    let store = Store::new();
    store.replace(resources([(1, 1), (2, 2)]), true);
    let (mut client, mut cursor) = (Client::default(), Cursor::new(None));
    let first = client.read(&mut cursor, &store).unwrap();
    assert!(first.snapshot && first.complete && first.changed.len() == 2);
    assert!(client.read(&mut cursor, &store).is_none());
    store.replace(resources([(1, 1), (3, 3)]), true);
    let second = client.read(&mut cursor, &store).unwrap();
    assert!(!second.snapshot);
    assert_eq!((second.changed.len(), second.removed.len()), (1, 1));
    assert_eq!(client.state, resources([(1, 1), (3, 3)]));
}

#[test]
fn a_reconnect_with_a_known_version_gets_what_changed_since() {
    let store = Store::new();
    store.replace(resources([(1, 1), (2, 2)]), true);
    let mut client = Client::default();
    client.read(&mut Cursor::new(None), &store);
    store.replace(resources([(1, 9), (2, 2)]), true);
    let answer = client.read(&mut Cursor::new(client.applied), &store).unwrap();
    assert!(!answer.snapshot);
    assert_eq!(answer.changed.len(), 1);
    // Nothing changed: the answer says so.
    let answer = client.read(&mut Cursor::new(client.applied), &store).unwrap();
    assert!(!answer.snapshot && answer.complete && answer.changed.is_empty());
}

#[test]
fn an_unknown_epoch_or_a_version_from_the_future_gets_a_snapshot() {
    let store = Store::new();
    store.replace(resources([(1, 1)]), true);
    let other = Version { epoch: store.epoch() ^ 1, number: 1, digest: 5 };
    let future = Version { epoch: store.epoch(), number: 99, digest: 0 };
    for known in [other, future] {
        assert!(Client::default().read(&mut Cursor::new(Some(known)), &store).unwrap().snapshot);
    }
}

/// The state as another control plane names it.
fn elsewhere(state: &Resources) -> Version {
    let other = Store::new();
    other.replace(resources([(0, 0), (9, 9)]), true);
    other.replace(state.clone(), true);
    other.since(None).version
}

#[test]
fn equal_states_have_equal_digests_by_whatever_changes_they_came_about() {
    let store = Store::new();
    let digest = || store.since(None).version.digest;
    store.replace(resources([(1, 1), (2, 2)]), true);
    let first = digest();
    assert_eq!(first, elsewhere(&resources([(1, 1), (2, 2)])).digest);
    let change = |value: Option<Resource>| [(node(2, 0).key(), value)].into();
    store.apply(change(Some(node(2, 3))), true);
    assert_eq!(digest(), elsewhere(&resources([(1, 1), (2, 3)])).digest);
    assert_ne!(digest(), first);
    store.apply(change(None), true);
    assert_eq!(digest(), elsewhere(&resources([(1, 1)])).digest);
    store.apply(change(Some(node(2, 2))), true);
    assert_eq!(digest(), first);
    store.replace(Resources::new(), true);
    assert_eq!(digest(), 0);
}

#[test]
fn who_comes_from_another_control_plane_with_a_known_state_gets_what_changed_since() {
    let state = resources([(1, 1), (2, 2)]);
    let mut client = Client { state: state.clone(), applied: Some(elsewhere(&state)), ..Client::default() };
    let store = Store::new();
    // It comes before there is anything.
    let mut cursor = Cursor::new(client.applied);
    store.replace(state, true);
    let answer = client.read(&mut cursor, &store).unwrap();
    assert!(!answer.snapshot && answer.complete && answer.changed.is_empty() && answer.removed.is_empty());
    assert_eq!(client.applied, Some(store.since(None).version));
    // Another one comes later, from a state that was in between.
    let between = resources([(1, 1), (3, 3)]);
    store.replace(between.clone(), true);
    store.replace(resources([(1, 7), (3, 3)]), true);
    let mut late = Client { applied: Some(elsewhere(&between)), state: between, ..Client::default() };
    let answer = late.read(&mut Cursor::new(late.applied), &store).unwrap();
    assert!(!answer.snapshot && answer.changed.len() == 1);
    assert_eq!(late.state, resources([(1, 7), (3, 3)]));
}

#[test]
fn a_state_that_was_never_here_or_has_no_digest_gets_a_snapshot() {
    let store = Store::new();
    let state = resources([(1, 1), (2, 2)]);
    store.replace(state.clone(), true);
    let without = Version { digest: 0, ..elsewhere(&state) };
    let unnamed = Version::default();
    for known in [elsewhere(&resources([(1, 1)])), without, unnamed] {
        assert!(Client::default().read(&mut Cursor::new(Some(known)), &store).unwrap().snapshot);
    }
}

#[test]
fn the_last_thousands_of_states_are_remembered() {
    let store = Store::new();
    let states = 5_000_u32;
    let state = |round: u32| {
        let [_, b, c, d] = round.to_be_bytes();
        let Resource::Node(it) = node(1, 1) else { unreachable!() };
        let it = Resource::Node(Node { addresses: vec![std::net::Ipv4Addr::new(10, b, c, d).into()], ..it });
        Resources::from([(it.key(), it)])
    };
    for round in 0..states {
        store.replace(state(round), true);
    }
    let number = |round| store.number(elsewhere(&state(round)));
    assert_eq!((number(0), number(states - 4_097)), (None, None));
    assert_eq!(number(states - 4_096), Some(u64::from(states - 4_095)));
    // A state that comes again is remembered by its last number, also when the first one is forgotten.
    store.replace(state(states - 4_096), true);
    assert_eq!(number(states - 4_096), Some(u64::from(states + 1)));
    store.replace(state(1), true);
    assert_eq!(number(states - 4_096), Some(u64::from(states + 1)));
}

#[test]
fn nothing_at_all_is_a_snapshot_too() {
    let store = Store::new();
    store.replace(Resources::new(), true);
    let answer = Client::default().read(&mut Cursor::new(None), &store).unwrap();
    assert!(answer.snapshot && answer.complete && answer.version.unwrap().number == 1);
}

#[test]
fn a_large_snapshot_comes_in_parts_of_one_version() {
    let store = Store::new();
    let zone = Some("z".repeat(20_000));
    let all: Resources = (0..200)
        .map(|index| {
            let node = Node {
                name: format!("n{index}"),
                addresses: vec![],
                pod_cidrs: vec![],
                zone: zone.clone(),
                object: None,
            };
            (ResourceKey::Node(node.name.clone()), Resource::Node(node))
        })
        .collect();
    store.replace(all.clone(), true);
    let (mut client, mut cursor) = (Client::default(), Cursor::new(None));
    let mut parts = Vec::new();
    while let Some(part) = client.read(&mut cursor, &store) {
        parts.push((part.snapshot, part.complete));
        // A change in between waits for its turn.
        if parts.len() == 2 {
            store.replace(resources([(1, 1)]), true);
        }
    }
    assert!(parts.len() > 8, "{parts:?}");
    assert_eq!(parts[0], (true, false));
    assert_eq!(client.state, resources([(1, 1)]));
}

#[test]
fn names_of_removed_resources_are_forgotten_and_who_is_older_gets_a_snapshot() {
    let store = Store::new();
    store.replace(resources([(0, 0)]), true);
    let old = store.newest().borrow().number;
    for round in 0..20_u32 {
        let all = (0..1000).map(|index| {
            let name = format!("r{round}-{index}");
            let node =
                Node { name: name.clone(), addresses: vec![], pod_cidrs: vec![], zone: None, object: None };
            (ResourceKey::Node(name), Resource::Node(node))
        });
        store.replace(all.collect(), true);
        let (present, removed) = store.size();
        assert!(present == 1000 && removed <= 16 * 1024);
    }
    assert!(store.since(Some(old)).snapshot);
    assert!(!store.since(Some(store.newest().borrow().number - 1)).snapshot);
}

#[test]
fn subscribers_share_the_encoded_bytes() {
    let store = Store::new();
    store.replace(resources([(1, 1), (2, 2)]), true);
    let (first, second) = (store.since(None), store.since(None));
    assert!(std::sync::Arc::ptr_eq(&first.items, &second.items));
    let delta = store.since(Some(0));
    assert_eq!(delta.items[0].as_ptr(), first.items[0].as_ptr());
}

#[derive(Clone, Debug)]
enum Step {
    /// The newest state is this one; the first control plane sees it at once.
    Replace(Vec<(u8, u8)>),
    /// The second control plane sees the newest state, and none of those before.
    See,
    /// A subscriber reads one response.
    Read(usize),
    /// A subscriber loses its connection and comes back.
    Reconnect(usize),
    /// A subscriber comes back at the other control plane.
    Move(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        // Few different ones, so that states come again.
        prop::collection::vec((0..4_u8, 0..2_u8), 0..4).prop_map(Step::Replace),
        Just(Step::See),
        (0..3_usize).prop_map(Step::Read),
        (0..3_usize).prop_map(Step::Reconnect),
        (0..3_usize).prop_map(Step::Move),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn every_subscriber_ends_with_the_newest_state_however_slow_it_reads(steps in steps()) {
        let stores = [Store::new(), Store::new()];
        stores.iter().for_each(|store| _ = store.replace(Resources::new(), true));
        let mut newest = Resources::new();
        let mut clients: Vec<_> = (0..3).map(|_| (Client::default(), Cursor::new(None), 0)).collect();
        for step in steps {
            match step {
                Step::Replace(nodes) => {
                    newest = resources(nodes);
                    stores[0].replace(newest.clone(), true);
                }
                Step::See => _ = stores[1].replace(newest.clone(), true),
                Step::Read(index) => {
                    let (client, cursor, at) = &mut clients[index];
                    client.read(cursor, &stores[*at]);
                }
                Step::Reconnect(index) | Step::Move(index) => {
                    let (client, cursor, at) = &mut clients[index];
                    client.pending.clear();
                    *cursor = Cursor::new(client.applied);
                    *at ^= usize::from(matches!(step, Step::Move(_)));
                }
            }
        }
        stores[1].replace(newest.clone(), true);
        for (client, cursor, at) in &mut clients {
            let mut reads = 0;
            while client.read(cursor, &stores[*at]).is_some() {
                reads += 1;
            }
            // What a slow reader has to catch up with is one delta, not the history.
            prop_assert!(reads <= 1);
            prop_assert_eq!(&client.state, &newest);
        }
    }
}
