//! The agent's disk is full.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, ensure};
use fairway_tests::eventually_within;
use fairway_tests::lab::server_pod;
use fairway_tests::trial::Trial;

use crate::other::{set, with_agent};
use crate::world::{PATIENCE, World, service};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S104
    ("an_agent_whose_disk_is_full_applies_what_it_is_told", |world| Box::pin(full(world))),
    // S104
    ("an_agent_that_starts_on_a_full_disk_serves_and_takes_pods_once_there_is_room", |world| {
        Box::pin(full_from_the_start(world))
    }),
];

/// A small disk for the state of node1's agent, which nobody else sees and which goes with the agent.
struct Disk {
    state: String,
    around: Vec<String>,
}

impl Disk {
    /// One with a copy of the state. `then` is what a shell does with the directory `$2` before the agent starts.
    fn new(world: &World, then: &str) -> anyhow::Result<Self> {
        let own = world.lab.state.directory().join("node1");
        let (old, small) = (own.join("state"), own.join("small"));
        fs::create_dir_all(&small)?;
        let (old, state) = (old.display().to_string(), small.display().to_string());
        let script = format!(
            "mount -t tmpfs -o size=512k none \"$2\" && cp -a \"$1/.\" \"$2\" && {then} && shift 2 && exec \"$@\""
        );
        // The agent sees mounts that are made later: the namespaces of new pods.
        let shell = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", &script, "sh"];
        let around = shell.into_iter().chain([&*old, &*state]).map(Into::into).collect();
        Ok(Self { state, around })
    }

    /// Where a file of it is for others than the agent, whose process id it takes.
    fn path(&self, pid: u32, name: &str) -> String {
        format!("/proc/{pid}/root{}/{name}", self.state)
    }

    fn change(&self, arguments: &mut Vec<String>) -> Vec<String> {
        set(arguments, "--state-dir", &self.state);
        self.around.clone()
    }
}

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 96, 1, number).into()
}

async fn full(world: &World) -> anyhow::Result<()> {
    let disk = Disk::new(world, "true")?;
    let manifests = world.lab.manifests();
    let trial = async |pid: u32| {
        let [filler, state] = ["filler", "cluster.pb"].map(|name| disk.path(pid, name));
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
    let done = with_agent(world, |arguments| disk.change(arguments), trial).await;
    for name in ["full120", "full121", "full122", "full123", "room"] {
        manifests.remove("Service", &format!("default/{name}")).ok();
    }
    done
}

async fn full_from_the_start(world: &World) -> anyhow::Result<()> {
    let disk = Disk::new(world, "{ cat /dev/zero >\"$2/filler\" 2>&- || true; }")?;
    let manifests = world.lab.manifests();
    let pod = |name: &str| server_pod(name, "node1", &format!("name: {name}"));
    manifests.apply_text(&(pod("goes") + &service("goes", 125, "name: goes")))?;
    world.answers("goes", address(125)).await?;
    let trial = async |pid: u32| {
        world
            .unnoticed(async {
                manifests.apply_text(&service("beginning", 126, "name: web-2"))?;
                world.answers("web-2", address(126)).await.context("a change")?;
                manifests.apply_text(&(pod("comes") + &service("comes", 127, "name: comes")))?;
                manifests.remove("Pod", "default/goes")?;
                world.refused(address(125)).await.context("a pod that went")?;
                world.a_while().await?;
                fs::remove_file(disk.path(pid, "filler"))?;
                world.answers("comes", address(127)).await.context("a pod that came")
            })
            .await
    };
    let done = with_agent(world, |arguments| disk.change(arguments), trial).await;
    for name in ["goes", "beginning", "comes"] {
        manifests.remove("Service", &format!("default/{name}")).ok();
        manifests.remove("Pod", &format!("default/{name}")).ok();
    }
    let gone = async || world.lab.status().map(|status| status.pods.len()).unwrap_or_default();
    eventually_within(PATIENCE, "the trial's pods are gone", gone, |count| *count == 3).await?;
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
