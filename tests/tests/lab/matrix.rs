//! The matrix: world, protocol, family, client, frontend, backend, policy. Each cell is a few requests from that client, and
//! what must come of them is said by [`expected`].

mod cell;
mod expected;
mod run;
mod services;
mod summary;

use anyhow::Context;
use fairway_tests::eventually_within;
use fairway_tests::lab::SocketLb;
use futures::StreamExt;
use std::time::Duration;

use crate::world::World;
use cell::{Cell, Protocol, Sockets, named};
use expected::{Expected, expected};
use run::Ask;
use summary::Summary;

/// Which cells.
#[derive(Default)]
pub(crate) struct Choice {
    /// `ipv4` or `ipv6`.
    pub(crate) family: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    pub(crate) protocol: Option<String>,
    /// All instead of the short form.
    pub(crate) full: bool,
    /// Words that the names contain.
    pub(crate) words: Vec<String>,
}

impl Choice {
    fn wants(&self, cell: Cell) -> bool {
        let family = if cell.v6 { "ipv6" } else { "ipv4" };
        let is = |wanted: &Option<String>, own: &str| wanted.as_ref().is_none_or(|wanted| wanted == own);
        (self.full || cell.is_short())
            && is(&self.family, family)
            && is(&self.protocol, named(&Protocol::ALL, cell.protocol))
            && (self.words.is_empty() || {
                let name = cell.name();
                self.words.iter().all(|word| name.contains(word.as_str()))
            })
    }
}

/// Runs the cells in a world for each kind of hook; how many failed.
pub(crate) async fn run(choice: &Choice) -> anyhow::Result<usize> {
    let start = std::time::Instant::now();
    let mut summary = Summary::default();
    let kinds =
        [(SocketLb::All, Sockets::All), (SocketLb::Host, Sockets::Host), (SocketLb::Off, Sockets::Off)];
    let [all, host, off] = kinds.map(|(lb, _)| World::up_for_matrix(lb));
    let (all, host, off) = tokio::try_join!(all, host, off)?;
    for ((_, sockets), world) in kinds.into_iter().zip([all, host, off]) {
        let cells: Vec<Cell> = Cell::all(sockets).into_iter().filter(|cell| choice.wants(*cell)).collect();
        if cells.is_empty() {
            continue;
        }
        world.lab.manifests().apply_text(&services::manifests(&world)?)?;
        let failed = summary.failed();
        in_world(&world, cells, &mut summary).await?;
        if summary.failed() > failed {
            world.keep_logs()?;
        }
    }
    summary.print(start.elapsed());
    Ok(summary.failed())
}

async fn in_world(world: &World, cells: Vec<Cell>, summary: &mut Summary) -> anyhow::Result<()> {
    let ask = Ask::new(world)?;
    wait_for_services(&ask, cells.first().context("no cell")?.sockets).await;
    let mut run = Vec::new();
    for cell in cells {
        match expected(cell) {
            (Expected::NotApplicable(why), _) => summary.skip(cell, why),
            what => run.push((cell, what)),
        }
    }
    let before = world.counts()?;
    let mut results = futures::stream::iter(run)
        .map(|(cell, (what, numbers))| {
            let ask = &ask;
            async move {
                let result = ask.run(cell, &what).await;
                (cell, what, numbers, result)
            }
        })
        .buffer_unordered(48);
    let mut dropped = std::collections::BTreeMap::<&str, u64>::new();
    while let Some((cell, what, numbers, result)) = results.next().await {
        if let (Expected::Dropped { reason }, Ok(packets)) = (&what, &result) {
            *dropped.entry(reason).or_default() += packets;
        }
        summary.add(cell, &numbers, result.err());
    }
    drop(results);
    // Every packet that vanished has its reason counted.
    let after = world.counts()?;
    for (reason, packets) in dropped {
        let of = |counts: &std::collections::BTreeMap<String, u64>| counts.get(reason).copied().unwrap_or(0);
        let counted = of(&after).saturating_sub(of(&before));
        summary.counted(world.name(), reason, packets, counted);
    }
    Ok(())
}

/// Endpoints need a moment from "ready" to the tables of every node.
async fn wait_for_services(ask: &Ask<'_>, sockets: Sockets) {
    let questions: Vec<(Cell, Expected)> = services::first_questions(sockets)
        .into_iter()
        .map(|cell| (cell, expected(cell).0))
        .filter(|(_, what)| matches!(what, Expected::Answer { .. }))
        .collect();
    let limit = Duration::from_secs(5);
    for (cell, what) in questions {
        let asked = || async { ask.run(cell, &what).await.map_err(|error| error.to_string()).err() };
        let name = services::service(cell);
        if let Err(error) = eventually_within(limit, &name, asked, Option::is_none).await {
            println!("{error:#}");
        }
    }
}
