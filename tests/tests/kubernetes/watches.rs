//! Watches that end, and where they go on.

use fairway_tests::apiserver::{Gone, Kind, Options};
use fairway_tests::trial::Trial;

use crate::world::{KINDS, World, service, slice};

pub(crate) const TRIALS: &[Trial<()>] = &[
    ("a_watch_that_is_cut_goes_on_where_it_was", |()| Box::pin(cut(false))),
    ("a_watch_that_is_cut_inside_a_line_goes_on_where_it_was", |()| Box::pin(cut(true))),
    ("compacted_changes_are_listed_anew_after_an_error_event", |()| Box::pin(compacted(Gone::Event, true))),
    ("compacted_changes_are_listed_anew_after_a_status", |()| Box::pin(compacted(Gone::Http, true))),
    ("compacted_changes_are_listed_anew_in_chunks", |()| Box::pin(compacted(Gone::Event, false))),
    ("a_bookmark_saves_a_list", |()| Box::pin(bookmarks())),
];

fn lists(world: &World) -> [usize; 3] {
    KINDS.map(|kind| world.api.full_lists(kind))
}

async fn cut(inside: bool) -> anyhow::Result<()> {
    for streaming_lists in [true, false] {
        let world = World::up_with(Options { streaming_lists, ..Options::default() }).await?;
        let before = lists(&world);
        for round in 0..3 {
            if inside {
                world.api.drop_watches_inside_a_line();
            } else {
                world.api.drop_watches();
            }
            // Nobody watches now, or somebody does already: both must do.
            world.api.put(service(&format!("new{round}"), 100 + round))?;
            world.api.put(slice(&format!("new{round}"), &["10.244.1.90"]))?;
            world.api.delete(Kind::Service, "default", &format!("s{round}"));
            world.settled().await?;
            world.watched().await?;
        }
        let after = lists(&world);
        anyhow::ensure!(before == after, "lists: {before:?} before, {after:?} after");
        anyhow::ensure!(world.view().snapshots == 1, "{} snapshots", world.view().snapshots);
    }
    Ok(())
}

async fn compacted(gone: Gone, streaming_lists: bool) -> anyhow::Result<()> {
    let world = World::up_with(Options { gone, streaming_lists, ..Options::default() }).await?;
    let before = lists(&world);
    world.api.set_down(true)?;
    world.api.put(service("new", 100))?;
    world.api.put(slice("new", &["10.244.1.90"]))?;
    // No watch will ever tell of these.
    world.api.delete(Kind::Service, "default", "s1");
    world.api.delete(Kind::EndpointSlice, "default", "s1-abcde");
    world.api.delete(Kind::Node, "", "node-b");
    world.api.compact();
    world.api.set_down(false)?;
    world.settled().await?;
    let after = lists(&world);
    anyhow::ensure!(before.iter().zip(&after).all(|(before, after)| before < after), "{before:?}, {after:?}");
    anyhow::ensure!(after.iter().all(|lists| *lists < 8), "{after:?} lists for one");
    anyhow::ensure!(
        world.view().snapshots == 1,
        "{} snapshots: the difference is sent",
        world.view().snapshots
    );
    Ok(())
}

async fn bookmarks() -> anyhow::Result<()> {
    let world = World::up().await?;
    let before = lists(&world);
    // Nodes do not change, while the server's version goes on.
    for round in 0..30 {
        world.api.put(service(&format!("new{round}"), 100 + round))?;
    }
    world.settled().await?;
    world.api.send_bookmarks();
    // What Nodes were last changed with is too old from now on; what the bookmark said is not.
    world.api.compact();
    world.api.drop_watches();
    world.api.put(service("last", 200))?;
    world.settled().await?;
    world.watched().await?;
    let after = lists(&world);
    anyhow::ensure!(before == after, "lists: {before:?} before, {after:?} after");
    Ok(())
}
