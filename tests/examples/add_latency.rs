//! How long ADD takes: Fairway's plugin with its agent, beside Debian's `ptp` with `host-local`.

#[path = "add_latency/plugin.rs"]
mod plugin;
#[path = "add_latency/report.rs"]
mod report;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use fairway_tests::eventually_within;
use fairway_tests::lab::{Families, Netns, Owner, Running, SocketLb, State, command, up};
use fairway_tests::traffic::http_status;
use futures::future::try_join_all;

use plugin::Plugin;
use report::{Format, Row};

/// Measures how long ADD takes, from the start of the plugin's process to its end.
///
/// A node of namespaces with an agent is made for it. In each round both plugins take turns: single calls one after the
/// other, then many at once. Namespaces are made before and pods deleted after the clock runs. Both plugins give an IPv4
/// and an IPv6 address; Fairway's also attaches its programs and writes its list to disk.
#[derive(Parser)]
#[command(name = "x bench cni", bin_name = "./x bench cni")]
struct Arguments {
    /// Rounds
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Single calls of each plugin in a round
    #[arg(long, default_value_t = 20)]
    single: u32,
    /// Calls at once
    #[arg(long, default_value_t = 50)]
    parallel: u32,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    /// The lab in whose node this process is
    #[arg(long, hide = true)]
    inside: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.inside {
        Some(id) => {
            let state = State::load(id)?;
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let rows = runtime.block_on(measure(&state, &arguments))?;
            println!("{}", report::print(&rows, arguments.output)?);
            Ok(ExitCode::SUCCESS)
        }
        None => in_a_lab(),
    }
}

/// Makes the node and runs this program again inside it, so that no change of namespace is in the figures.
fn in_a_lab() -> anyhow::Result<ExitCode> {
    let id = format!("bench-{}", std::process::id());
    let mut state = State::new(&id, Path::new(""), 1, Families::Dual, SocketLb::All);
    state.owner = Owner::of(std::process::id());
    let lab = Running::new(up(state, &mut |_| {})?);
    let mut again = command(&lab.place("node1")?, std::env::current_exe()?)?;
    let status = again.args(["--inside", &id]).args(std::env::args_os().skip(1)).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(state: &State, arguments: &Arguments) -> anyhow::Result<Vec<Row>> {
    let page = (Ipv4Addr::LOCALHOST, 10256).into();
    let ready =
        || async { http_status(page, "/readyz", Duration::from_secs(1)).map_err(|error| error.to_string()) };
    eventually_within(Duration::from_secs(60), "the agent is ready", ready, |status| *status == Ok(200))
        .await?
        .ok();
    let plugins = [Plugin::fairway(state)?, Plugin::ptp(state)];
    let parallel = [1, arguments.parallel];
    let mut rows = Vec::new();
    for plugin in &plugins {
        rows.extend(parallel.map(|at_once| Row::new(plugin.name, at_once)));
    }
    for round in 0..=arguments.rounds {
        for (number, at_once) in parallel.into_iter().enumerate() {
            let turns = if at_once == 1 { arguments.single } else { 1 };
            for turn in 0..turns * 2 {
                // Who begins changes from round to round.
                let index = usize::from((turn + round) % 2 == 1);
                let (times, batch) = one_turn(state, &plugins[index], at_once).await?;
                // The first round only warms up.
                if round > 0 {
                    rows[index * parallel.len() + number].add(&times, batch);
                }
            }
        }
    }
    Ok(rows)
}

/// ADDs so many pods at once; how long each took, and all together, in microseconds.
async fn one_turn(state: &State, plugin: &Plugin, at_once: u32) -> anyhow::Result<(Vec<u64>, u64)> {
    let pods: Vec<(String, Netns)> = (0..at_once)
        .map(|number| format!("pod-bench-{number}"))
        .map(|name| (format!("{}{name}", state.prefix()), state.netns(&name)))
        .collect();
    for (_, netns) in &pods {
        netns.create()?;
    }
    let start = Instant::now();
    let times = try_join_all(pods.iter().map(|(id, netns)| plugin.call("ADD", id, netns))).await?;
    let batch = micros(start);
    for (id, netns) in &pods {
        plugin.call("DEL", id, netns).await?;
        netns.remove()?;
    }
    Ok((times, batch))
}

fn micros(start: Instant) -> u64 {
    start.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}
