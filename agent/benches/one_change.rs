//! How long one changed endpoint takes, by stage and as a whole: from the control plane's message to its answer.
//!
//! `cargo bench -p fairway-agent --bench one_change`. The tables are a model in memory: the kernel's are not needed.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

#[path = "one_change/cluster.rs"]
mod cluster;
#[path = "one_change/control.rs"]
mod control;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fairway_agent::reconcile::{Limits, Reconciler};
use fairway_agent::resolve::{HostPorts, LocalNode, Resolver};
use fairway_agent::sync::{self, Options, SyncState};
use fairway_datapath::table::{Image, Op, StateVersion, Tables};
use fairway_proto::model::{Cluster, Resource};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Services, and endpoints of each.
const SIZES: [(u32, u32); 3] = [(1_000, 10), (5_000, 2), (10_000, 10)];
const CHANGES: u32 = 50;

/// Tables that take everything.
#[derive(Default)]
struct Memory {
    slots: HashMap<u32, u32>,
    others: HashMap<String, usize>,
}

impl Tables for Memory {
    type Error = Infallible;

    fn image(&self) -> Result<Image, Infallible> {
        Ok(Image::default())
    }

    fn apply(&mut self, op: &Op) -> Result<(), Infallible> {
        match op {
            Op::PutSlots { first, backends } => self.slots.extend((*first..).zip(backends.iter().copied())),
            _ => *self.others.entry(String::new()).or_default() += 1,
        }
        Ok(())
    }

    fn begun(&self) -> Result<StateVersion, Infallible> {
        Ok(StateVersion::default())
    }

    fn begin(&mut self, _: StateVersion) -> Result<(), Infallible> {
        Ok(())
    }
}

fn node() -> LocalNode {
    LocalNode { name: "a".into(), addresses: vec!["192.168.0.1".parse().unwrap()], ..LocalNode::default() }
}

/// Durations of one stage.
#[derive(Default)]
struct Stage(Vec<Duration>);

impl Stage {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.0.push(start.elapsed());
        done
    }

    /// Median and 99th percentile, in microseconds.
    fn shown(mut self) -> String {
        self.0.sort_unstable();
        let at = |share: usize| self.0[(self.0.len() - 1) * share / 100].as_micros();
        format!("{:>9} {:>9}", at(50), at(99))
    }
}

/// Each stage alone.
fn stages(services: u32, endpoints: u32) -> Vec<(&'static str, Stage)> {
    let mut received = Cluster::default();
    for resource in cluster::all(services, endpoints) {
        received.insert(Resource::try_from(&resource).unwrap());
    }
    let (node, mut resolver) = (node(), Resolver::default());
    let now = Instant::now();
    let mut reconciler = Reconciler::load(Image::default(), Limits::default(), now, true);
    let mut tables = Memory::default();
    let [mut receive, mut resolving, mut plan, mut write, mut publish] =
        std::array::from_fn(|_| Stage::default());
    let mut first = [Duration::ZERO; 2];
    for number in 0..=CHANGES {
        let cluster = receive.time(|| {
            let message = cluster::slice(number % services, endpoints, number);
            received.insert(Resource::try_from(&message).unwrap());
            Arc::new(received.clone())
        });
        let desired = resolving.time(|| resolver.resolve(&cluster, &node));
        let planned = plan.time(|| reconciler.plan(&desired, now + Duration::from_secs(number.into())));
        write.time(|| planned.ops.iter().for_each(|op| tables.apply(op).unwrap()));
        reconciler.applied(now + Duration::from_secs(number.into()));
        publish.time(|| (reconciler.service_ids(), reconciler.backend_ids(), reconciler.usage()));
        if number == 0 {
            first = [&resolving, &plan].map(|stage| stage.0[0]);
            // The first is everything, and no change.
            for stage in [&mut receive, &mut resolving, &mut plan, &mut write, &mut publish] {
                stage.0.clear();
            }
        }
    }
    println!("  the first time: resolve {} ms, plan {} ms", first[0].as_millis(), first[1].as_millis());
    vec![("receive", receive), ("resolve", resolving), ("plan", plan), ("write", write), ("publish", publish)]
}

/// From the message on the stream to the answer on it, `pause` after the one before.
async fn whole(services: u32, endpoints: u32) -> Vec<(&'static str, Stage)> {
    let dir = tempfile::tempdir().unwrap();
    let mut control = control::Control::start(dir.path()).await;
    let state: watch::Sender<Arc<SyncState>> = watch::Sender::default();
    let (_node, node) = watch::channel(node());
    let (_pods, reports) = watch::channel(vec![]);
    let stop = CancellationToken::new();
    let options = Options {
        source: Some(control.source()),
        state_dir: dir.path().to_owned(),
        limits: Limits::default(),
        node,
        pod_cidrs: vec![],
        reports,
        host_ports: watch::channel(HostPorts::default()).1,
        metrics: Arc::default(),
        repairs: Arc::default(),
    };
    let tables = Arc::new(Mutex::new(Memory::default()));
    let agent = tokio::spawn(sync::run(tables, state, options, stop.clone()));
    control.open().await;
    let start = Instant::now();
    control.snapshot(cluster::all(services, endpoints)).await;
    println!("  the first time: stream, resolve, plan, write {} ms", start.elapsed().as_millis());
    let mut stage = Stage::default();
    let cpu = cpu_time();
    let start = Instant::now();
    for number in 1..=CHANGES {
        tokio::time::sleep(Duration::from_millis(40)).await;
        let start = Instant::now();
        control.delta(cluster::slice(number % services, endpoints, number)).await;
        stage.0.push(start.elapsed());
    }
    let (cpu, took) = (cpu_time() - cpu, start.elapsed());
    println!(
        "  {:.1}% of one CPU at {:.0} changes/s",
        100.0 * cpu.as_secs_f64() / took.as_secs_f64(),
        f64::from(CHANGES) / took.as_secs_f64()
    );
    stop.cancel();
    agent.await.unwrap().unwrap();
    vec![("message to answer", stage)]
}

/// What this process has used.
fn cpu_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (services, endpoints) in SIZES {
        println!(
            "{services} Services x {endpoints} endpoints, one endpoint changes: microseconds, p50 and p99"
        );
        let mut rows = stages(services, endpoints);
        rows.extend(runtime.block_on(whole(services, endpoints)));
        for (name, stage) in rows {
            println!("  {name:<20}{}", stage.shown());
        }
    }
}
