//! A server that is away, slow, or in trouble.

use std::time::{Duration, Instant};

use fairway_tests::apiserver::{Kind, Options, Verb};
use fairway_tests::trial::Trial;

use crate::world::{KINDS, Settings, World, fill, service, slice};

pub(crate) const TRIALS: &[Trial<()>] = &[
    ("a_server_that_is_down_changes_nothing_and_is_found_again", |()| Box::pin(down())),
    ("a_server_that_comes_later_is_waited_for", |()| Box::pin(later())),
    ("a_server_that_does_not_answer_changes_nothing", |()| Box::pin(hanging())),
    ("a_slow_server_is_waited_for", |()| Box::pin(slow())),
    ("a_server_in_trouble_is_asked_less_and_less_often", |()| Box::pin(trouble(500))),
    ("a_server_that_says_later_is_asked_later", |()| Box::pin(too_many())),
    ("a_certificate_that_has_expired_changes_nothing", |()| Box::pin(expired())),
];

async fn down() -> anyhow::Result<()> {
    let world = World::up().await?;
    let before = world.view().cluster;
    for round in 0..3 {
        world.api.set_down(true)?;
        world.api.put(service(&format!("new{round}"), 100 + round))?;
        world.api.put(slice(&format!("new{round}"), &["10.244.1.90"]))?;
        world.api.set_down(false)?;
        world.settled().await?;
        world.watched().await?;
    }
    let view = world.view();
    anyhow::ensure!(view.removed.is_empty(), "{:?} was gone for a while", view.removed);
    anyhow::ensure!(view.cluster.nodes == before.nodes && view.snapshots == 1, "{view:?}");
    Ok(())
}

async fn later() -> anyhow::Result<()> {
    let world = World::start(Options::default(), Settings::default(), |api| {
        fill(api)?;
        api.set_down(true)
    })
    .await?;
    let told = || !world.problems().is_empty();
    world.eventually("what is wrong is told", told).await?;
    anyhow::ensure!(world.view().versions == 0, "there is a state that nobody told");
    world.api.set_down(false)?;
    world.settled().await?;
    world.eventually("nothing is wrong any more", || world.problems().is_empty()).await
}

async fn hanging() -> anyhow::Result<()> {
    let world = World::up().await?;
    world.api.hang();
    world.api.drop_watches();
    world.api.put(service("new", 100))?;
    world.api.delete(Kind::Service, "default", "s1");
    let waits = || world.api.requests().iter().any(|request| request.status.is_none());
    world.eventually("a request waits", waits).await?;
    anyhow::ensure!(world.view().removed.is_empty(), "{:?}", world.view().removed);
    world.api.release();
    world.settled().await
}

async fn slow() -> anyhow::Result<()> {
    let world =
        World::start(Options { streaming_lists: false, ..Options::default() }, Settings::default(), |api| {
            fill(api)?;
            api.delay(Duration::from_millis(700));
            Ok(())
        })
        .await?;
    world.settled().await?;
    anyhow::ensure!(world.view().versions == 1, "{} versions", world.view().versions);
    Ok(())
}

/// When the objects of a kind were asked for and refused, since then.
fn refused(world: &World, since: Instant, kind: Kind) -> Vec<Instant> {
    let requests = world.api.requests().into_iter();
    let refused = requests.filter(|request| {
        request.kind == Some(kind)
            && matches!(request.verb, Verb::List | Verb::Watch)
            && request.at >= since
            && request.status.is_some_and(|status| status >= 400)
    });
    refused.map(|request| request.at).collect()
}

async fn trouble(status: u16) -> anyhow::Result<()> {
    const FAILURES: usize = 15;
    let world = World::up().await?;
    let since = Instant::now();
    let before = world.api.requests().len();
    world.api.fail(FAILURES, status, None);
    world.api.drop_watches();
    world.api.put(service("new", 100))?;
    world.settled().await?;
    world.watched().await?;
    let asked = world.api.requests().len() - before;
    anyhow::ensure!(asked <= FAILURES + 12, "{asked} requests for {FAILURES} failures");
    for kind in KINDS {
        let times = refused(&world, since, kind);
        // The third pause is longer than any first one: what comes at once, comes once.
        let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let hurried = pauses.iter().filter(|pause| **pause < Duration::from_millis(100)).count();
        anyhow::ensure!(hurried <= 1, "{kind:?} was asked for after {pauses:?}");
    }
    anyhow::ensure!(world.view().removed.is_empty(), "{:?}", world.view().removed);
    Ok(())
}

async fn too_many() -> anyhow::Result<()> {
    let pause = Duration::from_secs(3);
    let world = World::up().await?;
    let since = Instant::now();
    world.api.fail(6, 429, Some(pause));
    world.api.drop_watches();
    world.api.put(service("new", 100))?;
    world.settled().await?;
    for kind in KINDS {
        let times = refused(&world, since, kind);
        let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        anyhow::ensure!(
            pauses.iter().all(|after| *after >= pause),
            "{kind:?} was asked for after {pauses:?}"
        );
    }
    Ok(())
}

async fn expired() -> anyhow::Result<()> {
    let world = World::up().await?;
    world.api.expire_certificate(true)?;
    world.api.put(service("new", 100))?;
    world.eventually("what is wrong is told", || !world.problems().is_empty()).await?;
    anyhow::ensure!(world.view().removed.is_empty(), "{:?}", world.view().removed);
    world.api.expire_certificate(false)?;
    world.settled().await
}
