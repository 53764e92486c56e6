//! A run: builds the peers' worlds, lets them take turns, and collects what came of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nix::sched::sched_getaffinity;
use nix::unistd::Pid;

use crate::cell::{Cell, Family, From};
use crate::environment;
use crate::peer::Peer;
use crate::plan::Choice;
use crate::report::{Report, Row};
use crate::rows::{Blocks, rows, skipped};
use crate::services::{Measured, PODS, Set};
use crate::world::{Settings, Timing, World, WorldError};

/// A block that fails so often in a row is not tried again.
const HOPELESS: u32 = 2;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// CPUs.
    #[error("{0}")]
    Cpus(String),
    /// Not one peer could be built.
    #[error("no peer can be measured: {0}")]
    Nobody(String),
    /// Namespaces need root.
    #[error("the benchmark builds networks of namespaces and needs root: run it as root, or with sudo")]
    NotRoot,
}

/// What else a run is given.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Why kube-proxy itself does not take part.
    pub kube_proxy: Option<String>,
}

/// Measures what was chosen.
///
/// # Errors
/// Not root, too few CPUs, or no peer at all. A peer that fails is a row that says so.
pub fn run(choice: &Choice, extra: &Extra) -> Result<Report, RunError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(RunError::NotRoot);
    }
    let cells = choice.cells();
    let settings = settings(choice, &cells)?;
    let mut run = Run { choice, extra, settings, blocks: Blocks::new(), left_out: Vec::new(), bar: bar() };
    let start = Instant::now();
    let mut worlds = run.build();
    if worlds.is_empty() {
        let reasons = run.left_out.iter().filter_map(|row| match row {
            Row::Skipped(skipped) => Some(format!("{}: {}", skipped.peer, skipped.skipped)),
            Row::Measured(_) => None,
        });
        return Err(RunError::Nobody(reasons.collect::<Vec<_>>().join("; ")));
    }
    let mut env = environment::read(choice, settings.cpus);
    // A world that is idle still has agents: all others rest while one is measured.
    let sets = cells.chunk_by(|a, b| (a.family, a.services) == (b.family, b.services));
    let sets: Vec<&[Cell]> = sets.collect();
    let turns: usize = cells.len() * worlds.len() * choice.rounds() as usize;
    run.bar.set_length(turns as u64);
    for cells in sets {
        run.set(&mut worlds, cells);
    }
    run.bar.finish_and_clear();
    env.insert("seconds".into(), start.elapsed().as_secs().to_string());
    let mut rows = rows(&run.blocks, choice.rate, choice.routing);
    rows.extend(run.left_out);
    Ok(Report { env, rows })
}

fn settings(choice: &Choice, cells: &[Cell]) -> Result<Settings, RunError> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(|error| RunError::Cpus(error.to_string()))?;
    let own: Vec<usize> =
        (0..nix::sched::CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or_default()).collect();
    let pair = match (choice.pin.as_slice(), own.as_slice()) {
        ([client, server], _) => (*client, *server),
        ([], [client, server, ..]) => (*client, *server),
        ([], _) => return Err(RunError::Cpus("the benchmark needs two CPUs".into())),
        _ => {
            return Err(RunError::Cpus(
                "--pin takes two CPUs: that of the client and that of the server".into(),
            ));
        }
    };
    let backends = cells.iter().map(|cell| cell.backends).max().unwrap_or(1);
    Ok(Settings {
        v6: cells.iter().any(|cell| cell.family == Family::V6),
        ports: backends.div_ceil(PODS),
        nice: choice.nice,
        cpus: pair,
        routing: choice.routing,
    })
}

fn bar() -> ProgressBar {
    // It draws nothing where the standard error is no terminal.
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

struct Run<'a> {
    choice: &'a Choice,
    extra: &'a Extra,
    settings: Settings,
    blocks: Blocks,
    left_out: Vec<Row>,
    bar: ProgressBar,
}

impl Run<'_> {
    fn build(&mut self) -> Vec<World> {
        let mut worlds = Vec::new();
        for peer in self.choice.peers() {
            self.bar.set_message(format!("building the network of {}", peer.name()));
            self.bar.tick();
            let built = match (&self.extra.kube_proxy, peer) {
                (Some(why), Peer::KubeProxy) => Err(WorldError::Missing(why.clone())),
                _ => World::build(peer, self.settings),
            };
            match built {
                Ok(world) => worlds.push(world),
                Err(error) => self.left_out.push(skipped(peer, None, chain(&error))),
            }
        }
        worlds
    }

    /// All cells with one set of Services.
    fn set(&mut self, worlds: &mut [World], cells: &[Cell]) {
        let Some(first) = cells.first() else { return };
        let mut ready: Vec<(&mut World, Set)> = Vec::new();
        for world in worlds {
            if cells.iter().all(|cell| self.choice.leaves_out(world.peer, *cell).is_some()) {
                continue;
            }
            self.bar.set_message(format!("{}: {} Services", world.peer.name(), first.services));
            self.bar.tick();
            let asked = asked(cells);
            let mut measured: Vec<Measured> = asked.iter().map(|(_, measured)| *measured).collect();
            measured.sort_unstable();
            measured.dedup();
            let served = world.pods(first.family).and_then(|pods| {
                let set = Set::new(first.family, first.services, measured, pods);
                world.serve(&set, &asked, first.family).map(|()| set)
            });
            match served {
                Ok(set) => ready.push((world, set)),
                Err(error) => self.left_out.push(skipped(world.peer, Some(*first), chain(&error))),
            }
        }
        self.rounds(&mut ready, cells);
    }

    fn rounds(&mut self, worlds: &mut [(&mut World, Set)], cells: &[Cell]) {
        let mut failures: BTreeMap<(Cell, Peer), (u32, String)> = BTreeMap::new();
        for cell in cells {
            for (world, _) in worlds.iter() {
                if let Some(why) = self.choice.leaves_out(world.peer, *cell) {
                    failures.insert((*cell, world.peer), (HOPELESS, why));
                }
            }
        }
        for round in 0..self.choice.rounds() as usize {
            for cell in cells {
                // Who begins changes from round to round.
                let count = worlds.len();
                for turn in 0..count {
                    let (world, set) = &mut worlds[(turn + round) % count];
                    self.bar.set_message(format!("round {} {}: {cell}", round + 1, world.peer.name()));
                    self.bar.inc(1);
                    let key = (*cell, world.peer);
                    if failures.get(&key).is_some_and(|(times, _)| *times >= HOPELESS) {
                        continue;
                    }
                    let block = self.block(world, set, *cell);
                    let rounds = self.blocks.entry(key).or_default();
                    rounds.resize(round, None);
                    match block {
                        Ok(recorded) => {
                            failures.remove(&key);
                            rounds.push(Some(recorded));
                        }
                        Err(error) => {
                            rounds.push(None);
                            let failed = failures.entry(key).or_default();
                            *failed = (failed.0 + 1, chain(&error));
                        }
                    }
                }
            }
        }
        for ((cell, peer), (_, why)) in failures {
            self.left_out.push(skipped(peer, Some(cell), why));
        }
    }

    fn block(&self, world: &mut World, set: &Set, cell: Cell) -> Result<crate::load::Recorded, WorldError> {
        let to = set.targets(cell.from, measured(cell), world.node(cell.family), world.peer != Peer::Clean);
        let timing = Timing {
            warmup: Duration::from_millis(self.choice.warmup),
            duration: self.choice.duration(),
            rate: self.choice.rate.filter(|_| !cell.workload.is_throughput()),
        };
        let recorded = world.block(cell.from, cell.workload, &to, cell.cpus, timing)?;
        // One in a hundred that fails makes the others' times meaningless.
        if recorded.ops == 0 || recorded.errors * 100 > recorded.ops {
            let why = recorded.error.unwrap_or_else(|| "lost".into());
            return Err(WorldError::Client(format!("{} of {} failed: {why}", recorded.errors, recorded.ops)));
        }
        Ok(recorded)
    }
}

fn measured(cell: Cell) -> Measured {
    Measured { far: cell.from.is_far(), backends: cell.backends }
}

/// Which Services are asked, and from where.
fn asked(cells: &[Cell]) -> Vec<(From, Measured)> {
    let mut all: Vec<_> = cells.iter().map(|cell| (cell.from, measured(*cell))).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
