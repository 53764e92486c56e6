//! A random sequence of what runtimes, crashes and reboots do to a node's pods, against what the calls say there must be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use fairway_tests::eventually_within;
use fairway_tests::lab::{Families, Netns, Running, SocketLb, State};
use fairway_tests::runtime::plugin::{Call, addresses, call};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::held::Held;
use super::world::{Choice, agent_ready, run};

const NODE: &str = "node1";
/// The agent loads its programs, and the kernel checks them.
const AGENT: Duration = Duration::from_secs(60);

/// How many steps a run takes; the long one takes about ten minutes.
const STEPS: (u32, u32) = (50, 1000);

/// What happens next, and how often compared with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Up to four pods at once.
    Add,
    /// The same again for a pod that is there.
    AddAgain,
    Check,
    Delete,
    /// The runtime lost pods without a word, and then says which there are.
    Collect,
    Kill,
    Start,
    /// Pods are asked for, and the agent is killed meanwhile.
    KillWhileAdding,
    /// No process, no namespace, no device and no pin is left.
    Reboot,
}

const WEIGHTS: [(Step, u32); 9] = [
    (Step::Add, 30),
    (Step::AddAgain, 5),
    (Step::Check, 10),
    (Step::Delete, 25),
    (Step::Collect, 5),
    (Step::Kill, 6),
    (Step::Start, 12),
    (Step::KillWhileAdding, 4),
    (Step::Reboot, 3),
];

impl Step {
    /// Whether it can happen while the agent runs, or does not.
    fn fits(self, running: bool) -> bool {
        match self {
            Self::Delete | Self::Reboot => true,
            Self::Start => !running,
            _ => running,
        }
    }
}

/// A pod that was made.
struct Made {
    netns: Netns,
    result: Value,
}

struct Chaos {
    lab: Running,
    random: StdRng,
    /// Pods that must be there, by the runtime's name.
    pods: BTreeMap<String, Made>,
    /// Deletions that the plugin asked to try again.
    owed: Vec<String>,
    count: u32,
    running: bool,
}

/// Runs the sequence that follows from a seed; a failure names it.
pub(crate) async fn any_sequence(choice: &Choice) -> anyhow::Result<()> {
    let seed = choice.seed.unwrap_or_else(rand::random);
    let steps = if choice.full { STEPS.1 } else { STEPS.0 };
    println!("chaos: {steps} steps, seed {seed}");
    let mut chaos = Chaos::begin(seed).await?;
    let mut taken = Vec::new();
    for _ in 0..steps {
        let step = chaos.choose();
        taken.push(step);
        let done = chaos.take(step).await;
        done.with_context(|| {
            let last = &taken[taken.len().saturating_sub(12)..];
            format!("step {}, run it again with --seed {seed}; the last steps: {last:?}", taken.len())
        })?;
    }
    let ended = chaos.end().await;
    ended.with_context(|| format!("at the end; run it again with --seed {seed}"))
}

impl Chaos {
    async fn begin(seed: u64) -> anyhow::Result<Self> {
        let lab = Running::up(State::of_this_process("chaos", 1, Families::Dual, SocketLb::All)).await?;
        agent_ready(&lab, NODE).await?;
        let random = StdRng::seed_from_u64(seed);
        Ok(Self { lab, random, pods: BTreeMap::new(), owed: Vec::new(), count: 0, running: true })
    }

    fn choose(&mut self) -> Step {
        let fitting: Vec<_> = WEIGHTS.into_iter().filter(|(step, _)| step.fits(self.running)).collect();
        let chosen = fitting.choose_weighted(&mut self.random, |(_, weight)| *weight);
        chosen.map_or(Step::Add, |(step, _)| *step)
    }

    async fn take(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Add => self.add().await,
            Step::AddAgain => self.add_again().await,
            Step::Check => self.check().await,
            Step::Delete => self.delete().await,
            Step::Collect => self.collect().await,
            Step::Kill => self.kill(),
            Step::Start => self.start().await,
            Step::KillWhileAdding => self.kill_while_adding().await,
            Step::Reboot => self.reboot().await,
        }
    }

    fn new_pods(&mut self) -> anyhow::Result<Vec<String>> {
        let many = self.random.random_range(1..=4);
        let mut names = Vec::new();
        for _ in 0..many {
            self.count += 1;
            let name = format!("chaos-{}", self.count);
            self.lab.state.netns(&name).create()?;
            names.push(name);
        }
        Ok(names)
    }

    fn any_pod(&mut self) -> Option<String> {
        let names: Vec<String> = self.pods.keys().cloned().collect();
        names.choose(&mut self.random).cloned()
    }

    async fn call(
        &self,
        command: &'static str,
        pod: &str,
        more: Vec<(&'static str, Value)>,
    ) -> Result<Value, String> {
        let (netns, name) = (self.lab.state.netns(pod), format!("default/{pod}"));
        let state = &self.lab.state;
        call(&Call { state, node: NODE, command, container_id: pod, netns, pod: &name, more }).await
    }

    /// A pod of which the plugin said that it is there.
    fn keep(&mut self, name: String, result: Value) -> anyhow::Result<()> {
        ensure!(addresses(&result).len() == 2, "{name} has {result}");
        let netns = self.lab.state.netns(&name);
        self.pods.insert(name, Made { netns, result });
        Ok(())
    }

    async fn add(&mut self) -> anyhow::Result<()> {
        let names = self.new_pods()?;
        let results = join_all(names.iter().map(|name| self.call("ADD", name, Vec::new()))).await;
        for (name, result) in names.into_iter().zip(results) {
            let result = result.map_err(anyhow::Error::msg)?;
            self.keep(name, result)?;
        }
        Ok(())
    }

    async fn add_again(&mut self) -> anyhow::Result<()> {
        let Some(name) = self.any_pod() else { return Ok(()) };
        let again = self.call("ADD", &name, Vec::new()).await;
        let before = &self.pods[&name].result;
        let same = again.as_ref().map_or(true, |again| addresses(again) == addresses(before));
        ensure!(same, "{name} has {before}, and then {again:?}");
        Ok(())
    }

    async fn check(&mut self) -> anyhow::Result<()> {
        let Some(name) = self.any_pod() else { return Ok(()) };
        let result = self.pods[&name].result.clone();
        let checked = self.call("CHECK", &name, vec![("prevResult", result)]).await;
        checked.map(drop).map_err(anyhow::Error::msg)
    }

    /// The namespace goes before or after the call, as runtimes do it both ways.
    async fn delete(&mut self) -> anyhow::Result<()> {
        let Some(name) = self.any_pod() else { return Ok(()) };
        let Some(made) = self.pods.remove(&name) else { return Ok(()) };
        let early = self.random.random_bool(0.5);
        if early {
            made.netns.remove()?;
        }
        match self.call("DEL", &name, Vec::new()).await {
            Ok(_) => {}
            Err(_) if !self.running => self.owed.push(name),
            Err(error) => anyhow::bail!(error),
        }
        Ok(made.netns.remove()?)
    }

    async fn collect(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.random.random_range(0..=2) {
            let Some(name) = self.any_pod() else { break };
            if let Some(made) = self.pods.remove(&name) {
                made.netns.remove()?;
            }
        }
        let known = self.pods.keys().map(|id| json!({ "containerID": id, "ifname": "eth0" }));
        let known = vec![("cni.dev/valid-attachments", known.collect())];
        self.call("GC", "none", known).await.map_err(anyhow::Error::msg)?;
        self.compare().await
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        self.running = false;
        Ok(self.lab.stop(NODE, true)?)
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        self.lab.start(NODE)?;
        self.running = true;
        agent_ready(&self.lab, NODE).await?;
        for name in std::mem::take(&mut self.owed) {
            self.call("DEL", &name, Vec::new()).await.map_err(anyhow::Error::msg)?;
        }
        self.compare().await
    }

    /// What came of the calls is known only when there is an agent again: as a runtime, those that failed are deleted.
    async fn kill_while_adding(&mut self) -> anyhow::Result<()> {
        let names = self.new_pods()?;
        let after = Duration::from_micros(self.random.random_range(0..30_000));
        let calls = join_all(names.iter().map(|name| self.call("ADD", name, Vec::new())));
        // At any moment of the call, not after something.
        let (results, killed) = tokio::join!(calls, async {
            tokio::time::sleep(after).await;
            self.lab.stop(NODE, true)
        });
        killed?;
        self.running = false;
        for (name, result) in names.into_iter().zip(results) {
            match result {
                Ok(result) => self.keep(name, result)?,
                Err(_) => {
                    self.lab.state.netns(&name).remove()?;
                    self.owed.push(name);
                }
            }
        }
        self.start().await
    }

    async fn reboot(&mut self) -> anyhow::Result<()> {
        if self.running {
            self.kill()?;
        }
        for (_, made) in std::mem::take(&mut self.pods) {
            made.netns.remove()?;
        }
        for device in Held::devices(&self.lab, NODE)? {
            // Its pod's namespace may just have taken it along.
            run(&self.lab, NODE, &format!("ip link delete {device}")).ok();
        }
        fs::remove_dir_all(self.lab.state.pins(Some(NODE)))?;
        // The runtime remembers only some of them, and deletes those.
        let remembered = self.random.random_range(0..=self.owed.len());
        self.owed.truncate(remembered);
        self.start().await
    }

    async fn compare(&self) -> anyhow::Result<()> {
        let wanted: BTreeSet<(String, IpAddr)> = self.pods.iter().flat_map(each_address).collect();
        let wrong = || async {
            let held = Held::on(&self.lab, NODE).map_err(|error| format!("{error:#}"))?;
            Ok::<_, String>(held.differs_from(&wanted))
        };
        let what = format!("the node holds {wanted:?}");
        let agree = |wrong: &Result<Vec<String>, String>| wrong.as_ref().is_ok_and(Vec::is_empty);
        eventually_within(AGENT, &what, wrong, agree).await?.map_err(anyhow::Error::msg)?;
        Ok(())
    }

    async fn end(mut self) -> anyhow::Result<()> {
        if !self.running {
            self.start().await?;
        }
        self.compare().await?;
        while !self.pods.is_empty() {
            self.delete().await?;
        }
        self.compare().await
    }
}

fn each_address((name, made): (&String, &Made)) -> impl Iterator<Item = (String, IpAddr)> {
    addresses(&made.result).into_iter().map(|address| (name.clone(), address))
}
