//! One run: faults that its seed draws, then none, and a look at what everybody has.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use turmoil::Sim;

use crate::agent::{Agent, Verdict};
use crate::faults::Link;
use crate::reader::Reader;
use crate::replica::Replica;
use crate::source::Shared;

/// A step of the simulated time.
const TICK: Duration = Duration::from_millis(50);
/// Time between two events.
const PAUSE: std::ops::Range<u64> = 50..700;
/// How many events there are.
const EVENTS: std::ops::Range<usize> = 8..28;
/// In this time everybody must have the newest state when nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(90);

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    runs: u64,
    events: u64,
    states: u64,
    time: Duration,
    /// The longest until everybody had the newest state after the last fault.
    recovery: Duration,
}

impl Sum {
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.events += other.events;
        self.states += other.states;
        self.time += other.time;
        self.recovery = self.recovery.max(other.recovery);
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, events, states, time, recovery } = self;
        let (hours, recovery) = (time.as_secs_f64() / 3600.0, recovery.as_secs_f64());
        write!(
            out,
            "{runs} runs, {events} events, {states} states, {hours:.1} simulated hours; all well again after \
             {recovery:.1} s at most"
        )
    }
}

struct World {
    sim: Sim<'static>,
    random: StdRng,
    source: Shared,
    replicas: Vec<(Replica, bool)>,
    agents: Vec<(Agent, bool)>,
    reader: Reader,
    links: Vec<Link>,
    verdict: Verdict,
    told: bool,
    // Removed when the agents are gone.
    _disks: tempfile::TempDir,
}

/// Runs one seed; `told`: and says what happens.
pub(crate) fn run(seed: u64, told: bool) -> Result<Sum> {
    // What the agent draws itself, it draws on this thread.
    fastrand::seed(seed);
    let mut world = World::build(seed, told)?;
    // All hosts start.
    world.pass(TICK)?;
    let seen = world.advance(0);
    world.tell(&format!("state 0 is declared, seen by {seen}"));
    let events = world.random.random_range(EVENTS);
    for _ in 0..events {
        let pause = world.random.random_range(PAUSE);
        world.pass(Duration::from_millis(pause))?;
        let event = world.event();
        world.tell(&event);
    }
    world.heal();
    let start = world.sim.elapsed();
    while let Some(lack) = world.lack() {
        if world.sim.elapsed() - start > PATIENCE {
            bail!("{PATIENCE:?} after the last fault: {lack}");
        }
        world.pass(TICK)?;
    }
    let time = world.sim.elapsed();
    let states = world.source.lock().newest() as u64;
    Ok(Sum { runs: 1, events: events as u64, states, time, recovery: time - start })
}

impl World {
    fn build(seed: u64, told: bool) -> Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(random.random_range(5..200)))
            .tcp_capacity(1024)
            .enable_random_order()
            .build();
        let (source, verdict) = (Shared::default(), Verdict::default());
        source.lock().change(&mut random);
        let grace = Duration::from_millis(random.random_range(0..3000));
        let replicas: Vec<Replica> =
            (0..random.random_range(1..=2)).map(|number| Replica::new(number, grace)).collect();
        let names: Arc<Vec<String>> = Arc::new(replicas.iter().map(|replica| replica.name.clone()).collect());
        // What is kept is not what is tested here: it need not survive a crash of this machine.
        let memory = std::path::Path::new("/dev/shm");
        let memory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let disks = tempfile::Builder::new().prefix("fairway-sim-").tempdir_in(memory)?;
        let mut agents = Vec::new();
        for number in 0..random.random_range(1..=2) {
            let disk = disks.path().join(format!("node-{number}"));
            std::fs::create_dir(&disk)?;
            agents.push(Agent::new(number, disk, names.clone(), source.clone(), verdict.clone()));
        }
        let reader = Reader::new(names.clone(), source.clone(), verdict.clone(), seed);
        for replica in &replicas {
            let host = replica.clone();
            sim.host(replica.name.as_str(), move || host.clone().serve());
        }
        for agent in &agents {
            let host = agent.clone();
            sim.host(agent.name.as_str(), move || host.clone().serve());
        }
        let host = reader.clone();
        sim.host(Reader::NAME, move || host.clone().serve());
        let clients = agents.iter().map(|agent| agent.name.as_str()).chain([Reader::NAME]);
        let links =
            clients.flat_map(|client| names.iter().map(move |name| Link::new(client, name))).collect();
        let replicas = replicas.into_iter().map(|replica| (replica, true)).collect();
        let agents = agents.into_iter().map(|agent| (agent, true)).collect();
        Ok(Self { sim, random, source, replicas, agents, reader, links, verdict, told, _disks: disks })
    }

    fn tell(&self, event: &str) {
        if self.told {
            println!("{:>7.2} s  {event}", self.sim.elapsed().as_secs_f64());
        }
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) -> Result<()> {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim.step().map_err(|error| anyhow!("{error}")).context("a host failed")?;
            if let Some(error) = self.verdict.lock().unwrap_or_else(PoisonError::into_inner).take() {
                bail!("at {:?}: {error}", self.sim.elapsed());
            }
        }
        Ok(())
    }

    /// Something happens; says what.
    fn event(&mut self) -> String {
        match self.random.random_range(0..20) {
            0..=5 => {
                let number = self.source.lock().change(&mut self.random);
                let seen = self.random.random_bool(0.8);
                let seen = if seen { self.advance(number) } else { "nobody".into() };
                format!("state {number} is declared, seen by {seen}")
            }
            6 | 7 => {
                let newest = self.source.lock().newest();
                let newest = self.source.lock().complete_before(newest);
                let seen = self.advance(newest);
                format!("state {newest} is seen by {seen}")
            }
            8..=12 => {
                let link = self.random.random_range(0..self.links.len());
                self.links[link].change(&mut self.sim, &mut self.random)
            }
            13 | 14 => self.restart_control(),
            15 | 16 => self.restart_agent(),
            17 => {
                let writes = self.random.random_bool(0.5).then(|| self.random.random_range(0..6));
                let agent = self.agent();
                self.agents[agent].0.fail_after(writes);
                format!("{}: all writes but {writes:?} fail", self.agents[agent].0.name)
            }
            18 => {
                let (agent, last) = (self.agent(), self.random.random_range(1..9));
                self.agents[agent].0.readdress(last);
                format!("{} has another address", self.agents[agent].0.name)
            }
            _ => {
                let (agent, pod) = (self.agent(), self.random.random_range(1..9));
                self.agents[agent].0.report(pod);
                format!("{} has other pods", self.agents[agent].0.name)
            }
        }
    }

    fn agent(&mut self) -> usize {
        self.random.random_range(0..self.agents.len())
    }

    /// One control plane at least reads this state, if it runs.
    fn advance(&mut self, number: usize) -> String {
        let chosen = self.random.random_range(0..self.replicas.len());
        let mut seen = vec![];
        for index in 0..self.replicas.len() {
            if index == chosen || self.random.random_bool(0.5) {
                let replica = &mut self.replicas[index].0;
                replica.give(&self.source, number, &mut self.random);
                seen.push(replica.name.clone());
            }
        }
        seen.join(", ")
    }

    /// Kills a control plane, or starts one that was killed: it has read nothing yet, or an older state, or not all of one.
    fn restart_control(&mut self) -> String {
        let index = self.random.random_range(0..self.replicas.len());
        let (replica, runs) = &mut self.replicas[index];
        if *runs {
            self.sim.crash(replica.name.as_str());
            let had = replica.at();
            replica.killed();
            *runs = false;
            return format!("{} is killed, it had {had:?}", replica.name);
        }
        self.sim.bounce(replica.name.as_str());
        *runs = true;
        // It listens before it has read anything.
        let listens = self.sim.step();
        if let Err(error) = listens {
            return format!("{} does not start: {error}", replica.name);
        }
        let mut source = self.source.lock();
        let newest = source.newest();
        let older = source.complete_before(self.random.random_range(0..=newest));
        let number = match self.random.random_range(0..4) {
            0 => return format!("{} starts and has read nothing yet", replica.name),
            1 => source.lose(older, &mut self.random),
            2 => older,
            _ => source.complete_before(newest),
        };
        drop(source);
        replica.give(&self.source, number, &mut self.random);
        format!("{} starts with {number} of {newest}", replica.name)
    }

    /// Kills an agent, or starts one that was killed: with its disk or without, on a machine that has started again or not.
    fn restart_agent(&mut self) -> String {
        let index = self.agent();
        let (agent, runs) = &mut self.agents[index];
        if *runs {
            self.sim.crash(agent.name.as_str());
            agent.killed();
            *runs = false;
            return format!("{} is killed", agent.name);
        }
        let (reboot, forget) = (self.random.random_bool(0.4), self.random.random_bool(0.3));
        if reboot {
            agent.rebooted();
        }
        if forget {
            agent.forgot();
        }
        self.sim.bounce(agent.name.as_str());
        *runs = true;
        format!("{} starts; kernel lost: {reboot}, disk lost: {forget}", agent.name)
    }

    /// Nothing goes wrong any more.
    fn heal(&mut self) {
        self.tell("all is repaired");
        self.links.iter_mut().for_each(|link| link.heal(&mut self.sim));
        for (agent, runs) in &mut self.agents {
            agent.fail_after(None);
            if !std::mem::replace(runs, true) {
                self.sim.bounce(agent.name.as_str());
            }
        }
        for (replica, runs) in &mut self.replicas {
            if !std::mem::replace(runs, true) {
                self.sim.bounce(replica.name.as_str());
            }
        }
        self.reader.calm_down();
        self.source.lock().change(&mut self.random);
    }

    /// What somebody does not have yet; none: everybody has the newest state, and the control planes know it.
    fn lack(&mut self) -> Option<String> {
        let newest = self.source.lock().newest();
        for (replica, _) in &mut self.replicas {
            if replica.at() != Some(newest) {
                replica.give(&self.source, newest, &mut self.random);
            }
        }
        for (agent, _) in &self.agents {
            if let Some(lack) = agent.lacks(newest) {
                return Some(format!("{} lacks state {newest}: {lack}", agent.name));
            }
            let beliefs: Vec<_> =
                self.replicas.iter().filter_map(|(replica, _)| replica.believes(&agent.name)).collect();
            if !beliefs.iter().any(|(newest, applied)| *applied == Some(*newest)) {
                return Some(format!("of {} the control planes believe {beliefs:?}", agent.name));
            }
        }
        let read = self.reader.number();
        (read != Some(newest)).then(|| format!("{} has {read:?} of {newest}", Reader::NAME))
    }
}
