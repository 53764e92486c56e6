//! What a control plane costs with many agents, and how long a change takes to the last of them.

mod agents;
mod cluster;
mod fleet;
mod ledger;
mod report;
mod wire;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::fleet::Fleet;
use self::report::Row;
use self::world::World;
use crate::programming::process;

/// How often the control plane's memory is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// New agents that receive everything, one after the other, before the median is taken.
const NEW_AGENTS: usize = 3;

/// Measures a control plane with many agents.
///
/// A real fairway-control reads a directory of manifests, in a network namespace of its own. Agents are simulated in a few
/// processes: each has an HTTP/2 connection and a stream of its own, says Hello, receives everything, and answers every
/// version, but keeps nothing. Then endpoints change, so many a second. Measured is the time from the rename of the
/// manifest to its receipt by each agent, and by the last one. The agents take their share of the same CPUs.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Agents [default: 1000,5000]
    #[arg(long, value_delimiter = ',', value_parser = crate::packet::number)]
    agents: Option<Vec<u32>>,
    /// Services [default: 10k]
    #[arg(long, value_parser = crate::packet::number)]
    services: Option<u32>,
    /// Endpoints of all Services together [default: 100k]
    #[arg(long, value_parser = crate::packet::number)]
    endpoints: Option<u32>,
    /// Endpoints that change each second [default: 100,1000]
    #[arg(long, value_delimiter = ',', value_parser = crate::packet::number)]
    churn: Option<Vec<u32>>,
    /// For how long they change [default: 20]
    #[arg(long)]
    seconds: Option<u32>,
    /// Less of everything that is not given: 200 agents, 1,000 Services, 10,000 endpoints, 100 changes a second for 10 s
    #[arg(long)]
    quick: bool,
    /// Write the rows here too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A process of simulated agents
    #[arg(long, hide = true)]
    inside: Option<String>,
}

/// What is measured.
struct Plan {
    agents: Vec<u32>,
    services: u32,
    endpoints: u32,
    churn: Vec<u32>,
    seconds: u32,
}

impl Arguments {
    fn plan(&self) -> Result<Plan> {
        let or = |given: Option<u32>, quick, full| given.unwrap_or(if self.quick { quick } else { full });
        let list = |given: &Option<Vec<u32>>, quick: u32, full: &[u32]| {
            given.clone().unwrap_or_else(|| if self.quick { vec![quick] } else { full.to_vec() })
        };
        let plan = Plan {
            agents: list(&self.agents, 200, &[1000, 5000]),
            services: or(self.services, 1000, 10_000),
            endpoints: or(self.endpoints, 10_000, 100_000),
            churn: list(&self.churn, 100, &[100, 1000]),
            seconds: or(self.seconds, 10, 20),
        };
        let numbers = [plan.services, plan.endpoints, plan.seconds];
        let all = numbers.iter().chain(&plan.agents).chain(&plan.churn);
        ensure!(all.into_iter().all(|number| *number > 0), "nothing can be measured of 0");
        ensure!(plan.endpoints >= plan.services, "each Service has an endpoint at least");
        let fast = plan.churn.iter().find(|churn| **churn * 2 > plan.services);
        ensure!(
            fast.is_none(),
            "a Service changes every two seconds at most, or one change would hide another"
        );
        let changes = plan.churn.iter().map(|churn| u64::from(*churn) * u64::from(plan.seconds)).sum::<u64>();
        ensure!(changes < u64::from(wire::MOST), "at most {} changes can be told apart", wire::MOST);
        Ok(plan)
    }
}

/// Measures, prints the table and writes the file.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(orders) = &arguments.inside {
        return agents::run(orders);
    }
    let plan = arguments.plan()?;
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {wide_msg}")?);
    let mut rows = Vec::new();
    let measured = plan.agents.iter().try_for_each(|agents| measure(&plan, *agents, &mut rows, &bar));
    bar.finish_and_clear();
    // What was measured before something failed is worth having.
    report::print(&rows, arguments.json.as_deref())?;
    measured
}

/// Adds the rows of one number of agents.
fn measure(plan: &Plan, agents: u32, rows: &mut Vec<Row>, bar: &ProgressBar) -> Result<()> {
    bar.set_length(u64::from(agents));
    bar.set_position(0);
    bar.set_message(format!("{} Services are read", plan.services));
    let mut world = World::build(plan.services, plan.endpoints, agents + 1)?;
    bar.set_message(format!("of {agents} agents have received everything"));
    let mut fleet = Fleet::start(&world, agents)?;
    fleet.join(|joined| bar.set_position(joined.into()))?;
    bar.set_message("a new agent receives everything");
    let mut times = (0..NEW_AGENTS).map(|_| Fleet::one(&world, agents)).collect::<Result<Vec<_>>>()?;
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (snapshot_s, snapshot_bytes) = times[NEW_AGENTS / 2];
    for churn in &plan.churn {
        let row = churn_row(plan, &mut world, &mut fleet, *churn, bar)?;
        let rss_peak_mib = world.peak_memory()?;
        rows.push(Row { snapshot_s, snapshot_bytes, rss_peak_mib, ..row });
    }
    Ok(())
}

/// Changes endpoints for a while.
fn churn_row(
    plan: &Plan,
    world: &mut World,
    fleet: &mut Fleet,
    churn: u32,
    bar: &ProgressBar,
) -> Result<Row> {
    bar.set_length(plan.seconds.into());
    bar.set_position(0);
    bar.set_message(format!("seconds of {churn} changes each, {} agents", fleet.agents()));
    fleet.begin()?;
    let first = world.changes();
    let cpu = [process::cpu(world.control())?, fleet.cpu()?];
    let start = Instant::now();
    let mut look = start;
    let mut rss = 0_f64;
    for number in 0..churn * plan.seconds {
        let at = start + Duration::from_secs_f64(f64::from(number) / f64::from(churn));
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        world.change()?;
        if look.elapsed() >= LOOK {
            look = Instant::now();
            rss = rss.max(process::memory(world.control())?[0]);
            bar.set_position(start.elapsed().as_secs());
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let percent = |before: Duration, after: Duration| (after - before).as_secs_f64() / seconds * 100.0;
    let used = [process::cpu(world.control())?, fleet.cpu()?];
    rss = rss.max(process::memory(world.control())?[0]);
    let received = fleet.end(first, world.changes())?;
    Ok(Row {
        agents: fleet.agents(),
        services: plan.services,
        endpoints: plan.endpoints,
        churn_per_s: churn,
        seconds,
        rss_mib: rss,
        cpu_percent: percent(cpu[0], used[0]),
        agents_cpu_percent: percent(cpu[1], used[1]),
        ..Row::of(received, fleet.agents())
    })
}
