//! The matrix: world, protocol, family, client, frontend, backend, policy. Each cell is a few requests from that client, and
//! what must come of them is said by [`expected`].

mod cell;
mod expected;
mod peer;
mod run;
mod services;
mod summary;

use anyhow::Context;
use fairway_tests::eventually_within;
use fairway_tests::lab::SocketLb;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::World;
use cell::{Cell, Protocol, Sockets, named};
use expected::{Expected, expected};
pub(crate) use peer::Peer;
use run::Ask;
use summary::Summary;

/// Which cells.
#[derive(Default)]
pub(crate) struct Choice {
    /// Who serves.
    pub(crate) peer: Peer,
    /// How packets reach other nodes' pods: the agents' setting.
    pub(crate) routing: Option<String>,
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

/// Runs the cells in a world for each kind of hook, or in the one world of a peer; how many failed.
pub(crate) async fn run(choice: &Choice) -> anyhow::Result<usize> {
    let start = std::time::Instant::now();
    let mut summary = Summary::default();
    let kinds = match choice.peer {
        Peer::Fairway => vec![
            (SocketLb::All, Sockets::All),
            (SocketLb::Host, Sockets::Host),
            (SocketLb::Off, Sockets::Off),
        ],
        Peer::Nftables => vec![(SocketLb::Off, Sockets::Nftables)],
    };
    let worlds = futures::future::try_join_all(
        kinds.iter().map(|(lb, _)| World::up_for_matrix(*lb, choice.routing.as_deref())),
    );
    for ((_, sockets), world) in kinds.iter().zip(worlds.await?) {
        let cells: Vec<Cell> = Cell::all(*sockets).into_iter().filter(|cell| choice.wants(*cell)).collect();
        if cells.is_empty() {
            continue;
        }
        serve(&world, choice.peer)?;
        let failed = summary.failed();
        in_world(&world, cells, &mut summary).await?;
        if summary.failed() > failed {
            world.keep_logs()?;
        }
    }
    summary.print(choice.peer, start.elapsed());
    Ok(summary.failed())
}

/// Declares the Services and has them served.
fn serve(world: &World, peer: Peer) -> anyhow::Result<()> {
    if peer == Peer::Nftables {
        world.lab.without_agents()?;
    }
    world.lab.manifests().apply_text(&services::manifests(world)?)?;
    if peer == Peer::Nftables {
        fairway_tests::peer::serve_by_nftables(&world.lab)?;
    }
    Ok(())
}

async fn in_world(world: &World, cells: Vec<Cell>, summary: &mut Summary) -> anyhow::Result<()> {
    let ask = Ask::new(world)?;
    let sockets = cells.first().context("no cell")?.sockets;
    wait_for_services(&ask, sockets).await;
    // Nobody counts what the kernel drops for a peer.
    let counted = sockets != Sockets::Nftables;
    let before = if counted { world.counts()? } else { BTreeMap::new() };
    let mut dropped = BTreeMap::<&str, u64>::new();
    for (run, at_once) in parts(cells, summary) {
        let mut results = futures::stream::iter(run)
            .map(|(cell, (what, numbers))| {
                let ask = &ask;
                async move {
                    let result = ask.run(cell, &what).await;
                    (cell, what, numbers, result)
                }
            })
            .buffer_unordered(at_once);
        while let Some((cell, what, numbers, result)) = results.next().await {
            if let (Expected::Dropped { reason }, Ok(packets)) = (&what, &result) {
                *dropped.entry(reason).or_default() += packets;
            }
            summary.add(cell, &numbers, result.err());
        }
    }
    // Every packet that vanished has its reason counted.
    let after = if counted { world.counts()? } else { return Ok(()) };
    for (reason, packets) in dropped {
        let of = |counts: &BTreeMap<String, u64>| counts.get(reason).copied().unwrap_or(0);
        let counted = of(&after).saturating_sub(of(&before));
        summary.counted(world.name(), reason, packets, counted);
    }
    Ok(())
}

/// Cells with what must happen.
type Wanted = Vec<(Cell, (Expected, Vec<u16>))>;

/// What is asked, and how many at once: kube-proxy may give two first connections of one client two endpoints, and then
/// keeps to one of them; so those with affinity come one by one.
fn parts(cells: Vec<Cell>, summary: &mut Summary) -> [(Wanted, usize); 2] {
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    for cell in cells {
        match wanted(cell, summary) {
            (Expected::NotApplicable(why), _) => summary.skip(cell, why),
            what if cell.sockets == Sockets::Nftables && cell.policy == cell::Policy::Affinity => {
                alone.push((cell, what));
            }
            what => together.push((cell, what)),
        }
    }
    [(together, 48), (alone, 1)]
}

fn wanted(cell: Cell, summary: &mut Summary) -> (Expected, Vec<u16>) {
    let (what, numbers) = expected(cell);
    if cell.sockets != Sockets::Nftables || matches!(what, Expected::NotApplicable(_)) {
        return (what, numbers);
    }
    let (what, why) = peer::adapt(cell, what);
    why.into_iter().for_each(|why| summary.differs(why));
    (what, numbers)
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
