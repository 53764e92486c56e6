//! The agent's disk is full.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::ensure;
use fairway_tests::eventually_within;
use fairway_tests::trial::Trial;

use crate::other::{set, with_agent};
use crate::world::{PATIENCE, World, service};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S104
    ("an_agent_whose_disk_is_full_applies_what_it_is_told", |world| Box::pin(full(world))),
];

async fn full(world: &World) -> anyhow::Result<()> {
    let own = world.lab.state.directory().join("node1");
    let (old, small) = (own.join("state"), own.join("small"));
    fs::create_dir_all(&small)?;
    let (old, small_text) = (old.display().to_string(), small.display().to_string());
    let change = |arguments: &mut Vec<String>| {
        set(arguments, "--state-dir", &small_text);
        // A disk of its own, which nobody else sees and which goes with the agent.
        let script =
            "mount -t tmpfs -o size=512k none \"$2\" && cp -a \"$1/.\" \"$2\" && shift 2 && exec \"$@\"";
        ["unshare", "--mount", "sh", "-c", script, "sh", &old, &small_text].map(Into::into).into()
    };
    let manifests = world.lab.manifests();
    let address = |number: u8| IpAddr::from(Ipv4Addr::new(10, 96, 1, number));
    let trial = async |pid: u32| {
        let [filler, state] =
            ["filler", "cluster.pb"].map(|name| format!("/proc/{pid}/root{small_text}/{name}"));
        world
            .unnoticed(async {
                fill(&filler)?;
                for number in 120..124 {
                    manifests.apply_text(&service(&format!("full{number}"), number, "name: web-2"))?;
                    world.answers("web-2", address(number)).await?;
                }
                world.ready("node1").await?;
                fs::remove_file(&filler)?;
                kept(&state, "full123").await?;
                manifests.apply_text(&service("room", 124, "name: web-1"))?;
                world.answers("web-1", address(124)).await
            })
            .await
    };
    let done = with_agent(world, change, trial).await;
    for name in ["full120", "full121", "full122", "full123", "room"] {
        manifests.remove("Service", &format!("default/{name}")).ok();
    }
    done
}

/// Waits until the state on disk has something of this name.
async fn kept(state: &str, name: &str) -> anyhow::Result<()> {
    let known =
        async || fs::read(state).is_ok_and(|it| it.windows(name.len()).any(|it| it == name.as_bytes()));
    eventually_within(PATIENCE, &format!("`{name}` is kept on disk"), known, |known| *known).await.map(drop)
}

/// Leaves no byte.
fn fill(path: &str) -> anyhow::Result<()> {
    let mut file = fs::File::create(path)?;
    let mut written = 0;
    loop {
        match file.write(&[0; 1024]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => return Err(error.into()),
        }
        ensure!(written < 16 << 20, "the disk is the machine's");
    }
    Ok(())
}
