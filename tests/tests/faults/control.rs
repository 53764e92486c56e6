//! The control plane is killed, stands still, or comes back with what it said long ago.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use fairway_tests::trial::Trial;
use nix::sys::signal::Signal;

use crate::world::{World, service};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S104
    ("a_killed_control_plane_costs_no_connection", |world| Box::pin(killed(world))),
    // S104
    ("a_control_plane_that_stands_still_costs_no_connection", |world| Box::pin(paused(world))),
    // S104
    ("a_control_plane_with_older_data_costs_no_connection", |world| Box::pin(older(world))),
];

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 96, 1, number).into()
}

async fn killed(world: &World) -> anyhow::Result<()> {
    world.unnoticed(killed_inside(world)).await?;
    Ok(world.lab.manifests().remove("Service", "default/after-kill")?)
}

async fn killed_inside(world: &World) -> anyhow::Result<()> {
    for _ in 0..3 {
        world.lab.stop("control", true)?;
        world.a_while().await?;
        world.lab.start("control")?;
    }
    world.lab.manifests().apply_text(&service("after-kill", 101, "name: web-2"))?;
    world.answers("web-2", address(101)).await
}

async fn paused(world: &World) -> anyhow::Result<()> {
    world.unnoticed(paused_inside(world)).await?;
    Ok(world.lab.manifests().remove("Service", "default/after-pause")?)
}

async fn paused_inside(world: &World) -> anyhow::Result<()> {
    world.signal("control", Signal::SIGSTOP)?;
    let applied = world.lab.manifests().apply_text(&service("after-pause", 102, "name: web-1"));
    let asked = world.a_while().await;
    world.signal("control", Signal::SIGCONT)?;
    applied?;
    asked?;
    world.answers("web-1", address(102)).await
}

/// As from a backup: the manifests of some time ago, to a control plane that knows nothing else.
async fn older(world: &World) -> anyhow::Result<()> {
    let manifests = world.lab.manifests();
    manifests.apply_text(&service("moved", 103, "name: web-1"))?;
    world.answers("web-1", address(103)).await?;
    let moved = manifests.directory().join("service.default.moved.yaml");
    let backup = fs::read(&moved)?;
    let done = world.unnoticed(async {
        manifests.apply_text(&service("moved", 103, "name: web-2"))?;
        world.answers("web-2", address(103)).await?;
        world.lab.stop("control", true)?;
        fs::write(&moved, backup)?;
        let asked = world.a_while().await;
        world.lab.start("control")?;
        asked?;
        world.answers("web-1", address(103)).await
    });
    done.await?;
    Ok(manifests.remove("Service", "default/moved")?)
}
