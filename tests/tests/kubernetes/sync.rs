//! The first state, and what follows it.

use fairway_tests::apiserver::{Credential, Kind, Options, Verb};
use fairway_tests::trial::Trial;
use serde_json::json;

use crate::world::{KINDS, NODE, Settings, World, fill, node, service, slice};

pub(crate) const TRIALS: &[Trial<()>] = &[
    ("a_first_state_comes_by_lists_from_an_older_server", |()| Box::pin(by_lists())),
    ("a_first_state_comes_by_streaming_lists", |()| Box::pin(by_streaming_lists())),
    ("a_client_certificate_is_as_good_as_a_token", |()| Box::pin(by_certificate())),
    ("thousands_of_services_come_in_chunks", |()| Box::pin(in_chunks())),
    ("additions_changes_and_deletions_reach_agents", |()| Box::pin(changes())),
    ("nothing_is_sent_before_all_lists_are_complete", |()| Box::pin(complete_first())),
];

async fn by_lists() -> anyhow::Result<()> {
    let world = World::up_with(Options { streaming_lists: false, ..Options::default() }).await?;
    for kind in KINDS {
        anyhow::ensure!(world.api.count(Verb::List, kind) > 0, "no list of {kind:?}");
    }
    anyhow::ensure!(world.problems().is_empty(), "{:?}", world.problems());
    Ok(())
}

async fn by_streaming_lists() -> anyhow::Result<()> {
    let world = World::up().await?;
    for kind in KINDS {
        let lists = world.api.full_lists(kind);
        anyhow::ensure!(lists == 1, "{kind:?} was listed {lists} times");
    }
    anyhow::ensure!(world.problems().is_empty(), "{:?}", world.problems());
    Ok(())
}

async fn by_certificate() -> anyhow::Result<()> {
    let options = Options { credential: Credential::Certificate, ..Options::default() };
    World::up_with(options).await.map(drop)
}

async fn in_chunks() -> anyhow::Result<()> {
    let options = Options { streaming_lists: false, ..Options::default() };
    let world = World::start(options, Settings::default(), |api| {
        for number in 0..3_000 {
            api.put(service(&format!("s{number:04}"), number))?;
            api.put(slice(&format!("s{number:04}"), &["10.244.1.1"]))?;
        }
        api.put(node(NODE, 1))
    })
    .await?;
    world.settled().await?;
    for kind in [Kind::Service, Kind::EndpointSlice] {
        let requests = world.api.requests();
        let of_kind =
            requests.iter().filter(|request| request.kind == Some(kind) && request.verb == Verb::List);
        let chunks = of_kind.filter(|request| request.query.contains_key("continue")).count();
        anyhow::ensure!((1..100).contains(&chunks), "{kind:?} came in {} chunks", chunks + 1);
    }
    anyhow::ensure!(world.view().versions == 1, "{} versions", world.view().versions);
    Ok(())
}

async fn changes() -> anyhow::Result<()> {
    let world = World::up().await?;
    world.api.put(service("new", 100))?;
    world.api.put(slice("new", &["10.244.1.50", "10.244.2.50"]))?;
    world.api.put(node("node-c", 3))?;
    world.settled().await?;
    let mut changed = service("s1", 1);
    changed["spec"]["ports"][0]["port"] = json!(81);
    world.api.put(changed)?;
    world.api.put(slice("s2", &["10.244.1.77"]))?;
    world.api.delete(Kind::Service, "default", "new");
    world.api.delete(Kind::EndpointSlice, "default", "new-abcde");
    world.settled().await?;
    let snapshots = world.view().snapshots;
    anyhow::ensure!(snapshots == 1, "{snapshots} snapshots: changes are deltas");
    Ok(())
}

async fn complete_first() -> anyhow::Result<()> {
    for kind in KINDS {
        let world = World::start(Options::default(), Settings::default(), |api| {
            fill(api)?;
            api.hold(kind);
            Ok(())
        })
        .await?;
        let asked = || world.api.requests().iter().any(|request| request.kind == Some(kind));
        world.eventually("the list that is held was asked for", asked).await?;
        let others = || KINDS.iter().all(|other| *other == kind || world.api.watches(*other) > 0);
        world.eventually("the others are watched", others).await?;
        // Something happens while the state is incomplete.
        world.api.put(service("meanwhile", 100))?;
        world.api.put(slice("meanwhile", &["10.244.1.9"]))?;
        world.api.put(node("meanwhile", 9))?;
        world.api.release();
        world.settled().await?;
        let first = world.view().first.unwrap_or_default();
        let counts = (first.services.len(), first.slices.len(), first.nodes.len());
        anyhow::ensure!(counts.0 >= 10 && counts.1 >= 10 && counts.2 >= 2, "the first state has {counts:?}");
        anyhow::ensure!(world.view().removed.is_empty(), "{:?} came and went", world.view().removed);
    }
    Ok(())
}
