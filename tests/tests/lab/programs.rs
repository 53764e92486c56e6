//! Kernel programs and tables while traffic runs: swapped by the agent, or removed by hand.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fairway_tests::traffic::http_text;
use futures::FutureExt;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::own::{Own, becomes};
use super::services::{Addresses, LOCAL_POD, REMOTE_POD};
use super::trial::Trial;
use super::world::{Position, World};

pub(crate) const TRIALS: &[Trial] = &[
    // S101
    ("nothing_waits_while_programs_are_swapped", |world| swapped(world).boxed()),
];

const SWAPPED: Addresses = Addresses(35);

/// Node1's metrics.
fn metrics(world: &World) -> anyhow::Result<String> {
    let to = (Ipv4Addr::LOCALHOST, 10256).into();
    let page = world.lab.state.netns("node1").within(|| http_text(to, "/metrics", Duration::from_secs(5)));
    page.context("/metrics of node1")
}

/// The kernel checks new programs for seconds: neither the agent's pages nor changes of Services wait for that.
async fn swapped(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    let mut trace = tokio::process::Command::from(world.lab.command("node1", "fairway")?)
        .arg("trace")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = BufReader::new(trace.stderr.take().context("no output")?).lines();
    let mut began = std::pin::pin!(said.next_line());
    let to = (SWAPPED.cluster_ip(false), 80);
    let (mut slowest, mut rounds) = (Duration::ZERO, 0_u32);
    let began = loop {
        let app = if rounds % 2 == 0 { LOCAL_POD.name } else { REMOTE_POD.name };
        let start = Instant::now();
        own.apply(&SWAPPED.manifest("swapped", &format!("selector: {{app: {app}}}"), 8080, false))?;
        becomes(world, Position::PodSameNode, to, app).await?;
        let changed = start.elapsed();
        metrics(world)?;
        (slowest, rounds) = (slowest.max(changed).max(start.elapsed().saturating_sub(changed)), rounds + 1);
        if let Ok(line) = tokio::time::timeout(Duration::from_millis(1), &mut began).await {
            break line?.unwrap_or_default();
        }
    };
    trace.kill().await?;
    ensure!(began.contains("tracing is on"), "{began}");
    ensure!(rounds > 2, "the programs were swapped within {rounds} changes");
    ensure!(slowest < Duration::from_secs(3), "something waited for {slowest:?}");
    Ok(())
}
