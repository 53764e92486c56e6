//! What one packet costs in each kernel program: nanoseconds of the kernel's test runs, over an empty program.

mod cases;
mod flows;
#[expect(dead_code, clippy::unwrap_used, reason = "shared with the packet tests")]
#[path = "../../datapath/tests/packet/frame.rs"]
mod frame;
mod harness;
#[path = "../../datapath/tests/packet/netns.rs"]
mod netns;
mod primitives;
mod report;
mod shape;
mod test_run;
#[expect(dead_code, clippy::unwrap_used, reason = "shared with the packet tests")]
#[path = "../../datapath/tests/packet/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use aya::programs::ProgramFd;
use clap::Args;
use fairway_common::{Reason, TCP};
use fairway_datapath::table::{Frontend, FrontendKey, Op, Run, Tables};
use fairway_datapath::{Datapath, Network};
use indicatif::{ProgressBar, ProgressStyle};

use self::cases::{Block, Direct, Flow, Row, Services};
use self::flows::FLOWS;
use self::harness::Harness;
use self::test_run::Kind;
use self::world::World;

/// Runs of a packet that is always the same, as often as given: the median counts, since others use the CPU too.
const HOT: (u32, usize) = (20_000, 5);
/// Connections that begin in one round: fewer than the ports that one client can show.
const BEGINNING: u32 = 28_000;

/// Measures what one packet costs in each kernel program.
///
/// The kernel runs a program on a packet again and again and says how long a run takes. A harness writes the packet's
/// headers anew before each run and chooses its flow; then it becomes the program under test, by a tail call. The same
/// harness before an empty program is measured in the same round and taken off. The redirect itself, which the kernel
/// does after the program, is not in the figures. Shown is the median of the rounds.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Frontends in the table, beside those that are measured
    #[arg(long, value_delimiter = ',', value_parser = number, default_value = "10,1k,10k,50k")]
    services: Vec<u32>,
    /// Rounds, in which all rows that need the same tables take turns
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Only rows whose program, case or family (IPv4, IPv6) contains this (repeatable: all of them)
    #[arg(long, value_name = "WORD")]
    filter: Vec<String>,
    /// Write the rows here too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn number(text: &str) -> Result<u32, std::num::ParseIntError> {
    match text.strip_suffix('k') {
        Some(thousands) => thousands.parse::<u32>().map(|number| number.saturating_mul(1000)),
        None => text.parse(),
    }
}

impl Arguments {
    fn wants(&self, row: &Row, v4: bool) -> bool {
        let text = format!("{} {} {}", row.program, row.case, report::family(v4)).to_lowercase();
        self.filter.iter().all(|word| text.contains(&word.to_lowercase()))
    }
}

/// Measures, prints the table and writes the file.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut sites = [Site::load(false)?, Site::load(true)?];
    let shapes = shape::all(&mut sites[0].world.datapath)?;
    stay()?;
    let mut blocks = Vec::new();
    for count in &arguments.services {
        for site in &mut sites {
            for v4 in [true, false] {
                for mut block in site.blocks(v4)? {
                    block.rows.retain(|row| arguments.wants(row, v4));
                    blocks.push((*count, v4, block));
                }
            }
        }
    }
    blocks.retain(|(_, _, block)| !block.rows.is_empty());
    let primitives = arguments.filter.iter().all(|word| "primitive".contains(&word.to_lowercase()));
    ensure!(!blocks.is_empty() || primitives, "no row is about `{}`", arguments.filter.join("` and `"));
    let progress = ProgressBar::new((blocks.len() * arguments.rounds) as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {percent}%, {eta} left")?);
    for (count, v4, block) in &mut blocks {
        let Site { world, bench, services, .. } = &mut sites[usize::from(block.direct)];
        world.select(*v4, TCP);
        bench.fill(world, *count)?;
        let (_, services) = services.iter().find(|(family, _)| family == v4).context("two families")?;
        bench.measure(world, services, block, arguments.rounds, &progress)?;
    }
    progress.finish_and_clear();
    let primitives = if primitives {
        let [Site { world, bench, services, .. }, _] = &mut sites;
        world.select(true, TCP);
        let (_, services) = services.first().context("two families")?;
        primitives::measure(&mut bench.harness, &services.routed(world)?, arguments.rounds)?
    } else {
        Vec::new()
    };
    report::print(&blocks, &primitives, &shapes, arguments.json.as_deref())
}

/// Stays on one CPU: the kernel gives each its own share of a table's free entries.
fn stay() -> Result<()> {
    let own = nix::unistd::Pid::from_raw(0);
    let allowed = nix::sched::sched_getaffinity(own)?;
    let last = (0..nix::sched::CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu) == Ok(true));
    let mut one = nix::sched::CpuSet::new();
    one.set(last.context("no CPU to run on")?)?;
    Ok(nix::sched::sched_setaffinity(own, &one)?)
}

/// A node, and what is measured at it.
struct Site {
    world: World,
    bench: Bench,
    services: Vec<(bool, Services)>,
    direct: Vec<(bool, Direct)>,
}

impl Site {
    /// `direct`: packets go to other nodes as they are, and nothing else is measured.
    fn load(direct: bool) -> Result<Self> {
        let change = |options: &mut fairway_datapath::Options| {
            if direct {
                options.direct = fairway_datapath::Direct::Link;
            }
        };
        let mut world = World::load_with(change).map_err(anyhow::Error::msg)?;
        let bench = Bench { harness: Harness::load()?, programs: BTreeMap::new(), fillers: 0 };
        let (mut services, mut ways) = (Vec::new(), Vec::new());
        for v4 in [true, false] {
            world.select(v4, TCP);
            services.push((v4, Services::put(&mut world)));
            if direct {
                ways.push((v4, Direct::put(&mut world)));
            }
        }
        if direct {
            let nodes = ["192.168.50.2/32".parse()?, "fd00:50::2/128".parse()?];
            world.datapath.set_networks(&nodes.map(|range| Network { range, tunnel: None, node: true }))?;
        }
        Ok(Self { world, bench, services, direct: ways })
    }

    fn blocks(&mut self, v4: bool) -> Result<Vec<Block>> {
        self.world.select(v4, TCP);
        if let Some((_, direct)) = self.direct.iter().find(|(family, _)| *family == v4) {
            return direct.blocks(&self.world);
        }
        let (_, services) = self.services.iter().find(|(family, _)| *family == v4).context("two families")?;
        services.blocks(&self.world)
    }
}

struct Bench {
    harness: Harness,
    programs: BTreeMap<&'static str, ProgramFd>,
    /// Frontends of each family that nobody asks for.
    fillers: u32,
}

/// A program under test; another type has a line of its own here.
fn program(datapath: &mut Datapath, row: &Row) -> Result<ProgramFd> {
    match row.kind {
        Kind::Tc => Ok(datapath.classifier(row.program)?.fd()?.try_clone()?),
        Kind::Xdp => Ok(datapath.xdp()?.fd()?.try_clone()?),
    }
}

impl Bench {
    /// Fills the tables of frontends; they only ever grow.
    fn fill(&mut self, world: &mut World, count: u32) -> Result<()> {
        for number in self.fillers..count {
            let [_, _, high, low] = number.to_be_bytes();
            let [zone, _] = (number >> 16).to_be_bytes()[2..] else { continue };
            let inside = Run { first: 1, count: 1 };
            let value = Frontend { inside, outside: inside, service: 1000 + number, ..Frontend::default() };
            for address in
                [format!("10.{}.{high}.{low}", 97 + zone), format!("fd00:10:96:1:{zone:x}::{number:x}")]
            {
                let key = FrontendKey { address: address.parse()?, protocol: TCP, port: 80 };
                world.datapath.apply(&Op::PutFrontend { key, value })?;
            }
        }
        self.fillers = self.fillers.max(count);
        Ok(())
    }

    fn measure(
        &mut self,
        world: &mut World,
        services: &Services,
        block: &mut Block,
        rounds: usize,
        progress: &ProgressBar,
    ) -> Result<()> {
        self.prepare(world, services, block)?;
        for row in &block.rows {
            let fd = program(&mut world.datapath, row)?;
            self.programs.insert(row.program, fd);
            self.check(world, row)?;
        }
        for _ in 0..rounds {
            let mut empty = BTreeMap::new();
            for row in &mut block.rows {
                let empty = match empty.get(&row.kind) {
                    Some(nanoseconds) => *nanoseconds,
                    None => {
                        let runs = |_| Ok(self.harness.run(row.kind, None, &row.load, HOT.0)?.1);
                        *empty.entry(row.kind).or_insert(median((0..HOT.1).map(runs))?)
                    }
                };
                let nanoseconds = self.round(world, row)?;
                row.rounds.push(f64::from(nanoseconds) - f64::from(empty));
            }
            progress.inc(1);
        }
        Ok(())
    }

    /// Brings pods and connections to where the block needs them.
    fn prepare(&mut self, world: &mut World, services: &Services, block: &Block) -> Result<()> {
        flows::forget(world)?;
        for n in [1, 2] {
            world.datapath.delete_pod(world.pod(n, 0).ip())?;
            world.put_pod(n);
        }
        if block.used {
            // The first connection of each marks them.
            let first = services.blocks(world)?;
            for row in first.iter().flat_map(|block| &block.rows) {
                if row.flow == Flow::New {
                    let fd = program(&mut world.datapath, row)?;
                    self.harness.run(row.kind, Some(&fd), &row.load, 1)?;
                }
            }
            flows::forget(world)?;
        }
        match &block.connections {
            Some(connections) => connections.write(world),
            None => Ok(()),
        }
    }

    /// Sees that a row measures what it says.
    fn check(&mut self, world: &mut World, row: &Row) -> Result<()> {
        const RUNS: u32 = 256;
        let count = |world: &World, reason: Reason| -> Result<u64> {
            let counts = world.datapath.counts()?;
            Ok(counts.iter().find(|(known, _)| *known == reason).map_or(0, |(_, count)| count.packets))
        };
        let before = row.reason.map(|reason| count(world, reason)).transpose()?;
        let (verdict, _) = self.harness.run(row.kind, self.programs.get(row.program), &row.load, RUNS)?;
        ensure!(verdict == row.verdict, "{}, {}: verdict {verdict}", row.program, row.case);
        if let (Some(reason), Some(before)) = (row.reason, before) {
            let counted = count(world, reason)? - before;
            ensure!(
                counted == u64::from(RUNS),
                "{}, {}: {counted} of {RUNS} packets were `{}`",
                row.program,
                row.case,
                reason.name()
            );
        }
        if row.flow == Flow::New {
            flows::forget(world)?;
        }
        Ok(())
    }

    /// Nanoseconds of a run, harness included.
    fn round(&mut self, world: &World, row: &Row) -> Result<u32> {
        let program = self.programs.get(row.program);
        let mut runs = |repeat| {
            let (verdict, nanoseconds) = self.harness.run(row.kind, program, &row.load, repeat)?;
            ensure!(verdict == row.verdict, "{}, {}: verdict {verdict}", row.program, row.case);
            Ok(nanoseconds)
        };
        match row.flow {
            Flow::Hot => median((0..HOT.1).map(|_| runs(HOT.0))),
            Flow::Many => {
                runs(FLOWS)?;
                runs(2 * FLOWS)
            }
            Flow::New => {
                let result = runs(BEGINNING);
                flows::forget(world)?;
                result
            }
        }
    }
}

fn median(values: impl Iterator<Item = Result<u32>>) -> Result<u32> {
    let mut values = values.collect::<Result<Vec<_>>>()?;
    values.sort_unstable();
    values.get(values.len() / 2).copied().context("nothing was measured")
}
