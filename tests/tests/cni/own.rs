//! A pod of one test's own, made by the node's container runtime.

use std::net::IpAddr;

use anyhow::{Context, ensure};
use fairway_tests::runtime::{Cri, Pod, Program};
use fairway_tests::traffic::Outcome;

use super::world::World;

/// A pod in which a server runs, and clients at will.
#[derive(Debug)]
pub(crate) struct OwnPod {
    pub(crate) cri: Cri,
    pub(crate) id: String,
    pub(crate) addresses: Vec<IpAddr>,
    container: String,
}

/// What the runtime is asked for; `name` is told from all others of the run.
pub(crate) fn wanted(world: &World, node: &str, name: &str) -> Pod {
    Pod {
        name: format!("default/{name}"),
        uid: format!("{}-{name}", world.lab.state.id),
        cgroup: world.lab.state.containers(node, name),
        logs: world.lab.state.directory().join("logs"),
        ..Pod::default()
    }
}

impl OwnPod {
    /// Has a plain pod made.
    pub(crate) async fn start(world: &World, node: &str, name: &str) -> anyhow::Result<Self> {
        Self::start_as(world.cri(node).await?, &wanted(world, node, name)).await
    }

    /// Has this pod made.
    pub(crate) async fn start_as(cri: Cri, pod: &Pod) -> anyhow::Result<Self> {
        let id = cri.run_pod(pod).await?;
        let addresses = cri.addresses(&id).await?;
        ensure!(addresses.len() == 2, "pod {} has {addresses:?}", pod.name);
        let name = pod.name.rsplit('/').next().unwrap_or_default();
        let words = ["fairway-lab", "serve", "--name", name, "--tcp", "8080", "--linger", "0"];
        let program = Program {
            name: "server".into(),
            command: words.map(String::from).to_vec(),
            log: format!("own-{name}.log"),
            ..Program::default()
        };
        let container = cri.start(&id, pod, &program).await?;
        Ok(Self { cri, id, addresses, container })
    }

    pub(crate) fn address(&self, v6: bool) -> anyhow::Result<IpAddr> {
        let found = self.addresses.iter().find(|address| address.is_ipv6() == v6);
        found.copied().context("the pod has no address of that family")
    }

    /// Asks once from inside; `how` is a kind of question.
    pub(crate) async fn ask(&self, how: &str, to: (IpAddr, u16)) -> anyhow::Result<Outcome> {
        let to = std::net::SocketAddr::from(to).to_string();
        let asked = self.cri.exec(&self.container, &["fairway-lab", "request", how, &to, "--json"]).await?;
        serde_json::from_str(&asked.stdout).with_context(|| format!("{asked:?}"))
    }

    /// Who answers, or why nobody does.
    pub(crate) async fn name(&self, how: &str, to: (IpAddr, u16)) -> String {
        match self.ask(how, to).await {
            Ok(outcome) => outcome.name().map_or_else(|| format!("{:?}", outcome.reply), str::to_owned),
            Err(error) => format!("{error:#}"),
        }
    }

    /// Runs a program inside; what it wrote.
    pub(crate) async fn run(&self, words: &str) -> anyhow::Result<String> {
        let ran = self.cri.exec(&self.container, &words.split(' ').collect::<Vec<_>>()).await?;
        ensure!(ran.code == 0, "`{words}`: {ran:?}");
        Ok(ran.stdout)
    }

    /// Has it stopped and removed.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.cri.stop_pod(&self.id).await?;
        Ok(self.cri.remove_pod(&self.id).await?)
    }
}
