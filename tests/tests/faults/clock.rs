//! The wall clocks of agent and control plane jump. The kernel's own is everybody's, so both read theirs through libfaketime;
//! the clock that waits are measured by stays as it is, as in a jump.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use fairway_tests::trial::Trial;

use crate::secured::{Of, Secured, from_now};
use crate::world::World;

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S104
    ("clocks_that_jump_cost_no_connection", |world| Box::pin(jump(world))),
];

const HOUR: i64 = 60 * 60;

/// The clock of a process.
struct Clock(PathBuf);

impl Clock {
    fn new(file: PathBuf) -> anyhow::Result<Self> {
        let clock = Self(file);
        clock.set(0)?;
        Ok(clock)
    }

    /// So many seconds from the kernel's.
    fn set(&self, offset: i64) -> anyhow::Result<()> {
        let new = self.0.with_extension("new");
        fs::write(&new, format!("{offset:+}"))?;
        Ok(fs::rename(new, &self.0)?)
    }

    /// What starts a process with this clock.
    fn around(&self, library: &Path) -> Vec<String> {
        vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.0.display()),
            // Read at each look, or a jump would be seen ten seconds later.
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ]
    }
}

fn library() -> anyhow::Result<PathBuf> {
    let directories = fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path());
    let found = directories.map(|path| path.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.context("libfaketime is not here: `apt-get install libfaketime`")
}

async fn jump(world: &World) -> anyhow::Result<()> {
    let library = library()?;
    let directory = world.lab.state.directory();
    let clocks = ["control.clock", "agent.clock"].map(|name| Clock::new(directory.join(name)));
    let [control, agent] = clocks;
    let clocks = [control?, agent?];
    let around = [clocks[0].around(&library), clocks[1].around(&library)];
    let mut secured = Secured::start(world, "tls-clock", around).await?;
    let done = world.unnoticed(jump_inside(&mut secured, &clocks)).await;
    secured.end().await?;
    done
}

async fn jump_inside(secured: &mut Secured<'_>, clocks: &[Clock; 2]) -> anyhow::Result<()> {
    let set = |[control, agent]: [i64; 2]| clocks[0].set(control).and_then(|()| clocks[1].set(agent));
    for offsets in [[HOUR, HOUR], [-HOUR, -HOUR], [HOUR, 0], [0, -HOUR], [-HOUR, HOUR]] {
        set(offsets)?;
        secured.change_arrives().await.with_context(|| format!("offsets {offsets:?}"))?;
        secured.world.a_while().await?;
    }
    set([0, 0])?;
    for of in [Of::Agent, Of::ControlPlane] {
        secured.files.renew(of, from_now(Duration::from_secs(60 * 60))?)?;
    }
    secured.control.restart().await?;
    secured.change_arrives().await?;

    // Beyond the end of both certificates.
    set([2 * HOUR, 2 * HOUR])?;
    secured.change_arrives().await.context("the open stream lives on")?;
    secured.control.restart().await?;
    secured.agent_says(&["certificate", "has expired at"]).await?;
    secured.world.a_while().await?;
    set([0, 0])?;
    secured.change_arrives().await.context("the clocks are right again")?;

    // Before their beginning, by the control plane's clock alone.
    set([-48 * HOUR, 0])?;
    secured.control.restart().await?;
    secured.control_plane_says(&["refused: ", "is not valid before", "compare the clocks"]).await?;
    secured.agent_says(&["which is right by this machine's clock"]).await?;
    secured.world.a_while().await?;
    set([0, 0])?;
    secured.change_arrives().await.context("the control plane's clock is right again")
}
