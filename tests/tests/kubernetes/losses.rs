//! A source that suddenly says much less, or what it said long ago.

use fairway_proto::model::ResourceKey;
use fairway_tests::apiserver::{ApiServer, Kind, Options};
use fairway_tests::trial::Trial;

use crate::world::{NODE, Settings, World, fill, node, service, slice};

pub(crate) const TRIALS: &[Trial<()>] = &[
    ("most_services_deleted_at_once_stay_if_they_come_back", |()| Box::pin(put_back(Way::Deleted))),
    ("services_that_a_list_does_not_have_stay_if_they_come_back", |()| Box::pin(put_back(Way::Listed))),
    ("all_else_is_followed_while_deleted_services_are_kept", |()| Box::pin(meanwhile())),
    ("most_services_deleted_at_once_go_after_a_second_look", |()| Box::pin(confirmed())),
    ("most_services_deleted_at_once_go_if_that_is_allowed", |()| Box::pin(allowed())),
    ("a_server_restored_from_a_backup_is_followed", |()| Box::pin(restored())),
];

#[derive(Clone, Copy)]
enum Way {
    Deleted,
    Listed,
}

/// Takes 16 of 20 Services away; returns when the loss is reported.
async fn lost(way: Way) -> anyhow::Result<World> {
    let world = World::start(Options::default(), Settings::default(), many).await?;
    world.settled().await?;
    world.watched().await?;
    if let Way::Listed = way {
        world.api.set_down(true)?;
    }
    for number in 0..16 {
        world.api.delete(Kind::Service, "default", &format!("s{number}"));
        world.api.delete(Kind::EndpointSlice, "default", &format!("s{number}-abcde"));
    }
    if let Way::Listed = way {
        world.api.compact();
        world.api.set_down(false)?;
    }
    let told = || world.problems().iter().any(|problem| problem.contains("went away"));
    world.eventually("the loss is reported", told).await?;
    Ok(world)
}

fn many(api: &ApiServer) -> anyhow::Result<()> {
    fill(api)?;
    for number in 10..20 {
        api.put(service(&format!("s{number}"), number))?;
        api.put(slice(&format!("s{number}"), &[&format!("10.244.1.{}", number + 1)]))?;
    }
    Ok(())
}

async fn put_back(way: Way) -> anyhow::Result<()> {
    let world = lost(way).await?;
    world.eventually("all stay", || world.view().cluster.services.len() == 20).await?;
    // At once: a part of them would be as good as a part that is deleted.
    world.api.set_down(true)?;
    many(&world.api)?;
    world.api.compact();
    world.api.set_down(false)?;
    world.settled().await?;
    let removed = world.view().removed;
    // Deleted one by one, half of them may be gone for a moment: before it is seen that it goes on.
    let gone = removed.iter().filter(|key| matches!(key, ResourceKey::Service(_))).count();
    let most = if let Way::Deleted = way { 10 } else { 0 };
    anyhow::ensure!(gone <= most, "{removed:?} was gone for a while");
    world.eventually("nothing is reported any more", || world.problems().is_empty()).await
}

async fn meanwhile() -> anyhow::Result<()> {
    let world = lost(Way::Listed).await?;
    world.api.put(slice("s18", &["10.244.1.99"]))?;
    world.api.put(service("new", 100))?;
    let changed = || {
        let cluster = world.view().cluster;
        let endpoints = cluster.slices.values().flat_map(|slice| &slice.endpoints);
        let mut addresses = endpoints.map(|endpoint| endpoint.address);
        addresses.any(|address| address.to_string() == "10.244.1.99") && cluster.services.len() == 21
    };
    world.eventually("what is changed or new is served, with all that is gone", changed).await?;
    let slices = world.view().cluster.slices.len();
    anyhow::ensure!(slices == 20, "{slices} slices, one of each Service but the new one");
    world.settled().await
}

/// A second list says the same: it is meant.
async fn confirmed() -> anyhow::Result<()> {
    let world = lost(Way::Deleted).await?;
    let lists = world.api.full_lists(Kind::Service);
    world.settled().await?;
    anyhow::ensure!(world.api.full_lists(Kind::Service) > lists, "nobody has looked a second time");
    anyhow::ensure!(world.view().cluster.services.len() == 4, "{}", world.view().cluster.services.len());
    world.eventually("nothing is reported any more", || world.problems().is_empty()).await
}

async fn allowed() -> anyhow::Result<()> {
    let settings = Settings { allow_mass_delete: true, ..Settings::default() };
    let world = World::start(Options::default(), settings, fill).await?;
    world.settled().await?;
    for number in 0..10 {
        world.api.delete(Kind::Service, "default", &format!("s{number}"));
    }
    world.settled().await?;
    anyhow::ensure!(world.view().cluster.services.is_empty(), "all are gone");
    Ok(())
}

/// Changes since a backup that a restore takes back.
async fn since_backup(world: &World) -> anyhow::Result<()> {
    world.api.put(service("new", 100))?;
    world.api.put(slice("new", &["10.244.1.90"]))?;
    world.api.put(node("node-c", 3))?;
    world.api.delete(Kind::Service, "default", "s1");
    world.api.put(slice("s2", &["10.244.1.92"]))?;
    world.settled().await
}

async fn restored() -> anyhow::Result<()> {
    let world = World::up().await?;
    let backup = world.api.snapshot();
    let before = world.view().cluster;
    since_backup(&world).await?;
    world.api.restore_marked(&backup)?;
    world.until(&before).await?;
    world.api.put(service("after", 101))?;
    world.settled().await?;
    anyhow::ensure!(world.view().cluster.nodes.contains_key(NODE), "{:?}", world.view().cluster.nodes);
    Ok(())
}
