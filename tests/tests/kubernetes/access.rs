//! What the control plane may do, and by which token.

use fairway_tests::apiserver::{Credential, Kind, Options};
use fairway_tests::trial::Trial;

use crate::world::{KINDS, Settings, World, fill, service};

pub(crate) const TRIALS: &[Trial<()>] = &[
    ("a_kind_that_may_not_be_read_is_named_from_the_start", |()| Box::pin(forbidden_at_start())),
    ("a_kind_that_may_not_be_read_any_more_is_named_and_kept", |()| Box::pin(forbidden_later())),
    ("a_token_that_is_replaced_in_its_file_is_read_again", |()| Box::pin(rotated())),
];

fn names(world: &World, kind: Kind) -> bool {
    world.problems().iter().any(|problem| problem.contains(kind.plural()) || problem.contains(kind.name()))
}

async fn forbidden_at_start() -> anyhow::Result<()> {
    for kind in KINDS {
        let world = World::start(Options::default(), Settings::default(), |api| {
            fill(api)?;
            api.forbid(kind);
            Ok(())
        })
        .await?;
        world.eventually("the kind is named", || names(&world, kind)).await?;
        anyhow::ensure!(world.view().versions == 0, "a state without {kind:?} was sent");
        world.api.allow(kind);
        world.settled().await?;
        world.eventually("nothing is wrong any more", || world.problems().is_empty()).await?;
    }
    Ok(())
}

async fn forbidden_later() -> anyhow::Result<()> {
    let world = World::up().await?;
    world.api.forbid(Kind::EndpointSlice);
    world.api.set_down(true)?;
    world.api.put(service("new", 100))?;
    world.api.compact();
    world.api.set_down(false)?;
    world.eventually("the kind is named", || names(&world, Kind::EndpointSlice)).await?;
    // The others are still followed.
    world.settled().await?;
    anyhow::ensure!(world.view().removed.is_empty(), "{:?}", world.view().removed);
    world.api.allow(Kind::EndpointSlice);
    world.eventually("nothing is wrong any more", || world.problems().is_empty()).await
}

async fn rotated() -> anyhow::Result<()> {
    let options = Options { credential: Credential::TokenFile, ..Options::default() };
    let world = World::up_with(options).await?;
    world.api.rotate_token()?;
    world.api.drop_watches();
    world.api.put(service("new", 100))?;
    // A token that was read is used for up to a minute.
    world.settled().await?;
    anyhow::ensure!(world.view().removed.is_empty(), "{:?}", world.view().removed);
    Ok(())
}
