//! A lab of two nodes, a Service with a pod on each, and clients that ask all the time.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, ensure};
use fairway_tests::eventually_within;
use fairway_tests::lab::{Families, Running, SocketLb, State, server_pod};
use fairway_tests::traffic::{Failure, Kind, Load, Query, Runner, RunningLoad};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PODS: [(&str, &str); 3] = [("web-1", "node1"), ("web-2", "node2"), ("client-1", "node1")];
const NODE_PORT: u16 = 31_080;
const WEB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 1, 80));
/// Agents look again at what broke after waits that double.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Pod,
    Outside,
}

pub(crate) struct World {
    pub(crate) lab: Running,
    pod: Runner,
    outside: Runner,
}

fn pod(name: &str, node: &str) -> String {
    let app = name.split('-').next().unwrap_or(name);
    server_pod(name, node, &format!("app: {app}, name: {name}"))
}

/// A Service for the pods with a label, at 10.96.1.NUMBER and at a port of every node.
pub(crate) fn service(name: &str, number: u8, label: &str) -> String {
    let node_port = NODE_PORT - 80 + u16::from(number);
    format!(
        r#"---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: NodePort
  clusterIP: 10.96.1.{number}
  clusterIPs: [10.96.1.{number}]
  ipFamilies: [IPv4]
  selector: {{{label}}}
  ports: [{{name: tcp, protocol: TCP, port: 80, targetPort: 8080, nodePort: {node_port}}}]
"#
    )
}

impl World {
    pub(crate) async fn up() -> anyhow::Result<Self> {
        let lab = Running::up(State::of_this_process("faults", 2, Families::Ipv4, SocketLb::All)).await?;
        let pods: String = PODS.iter().map(|(name, node)| pod(name, node)).collect();
        lab.manifests().apply_text(&(pods + &service("web", 80, "app: web")))?;
        lab.pods_ready(PODS.len()).await?;
        let pod = Runner::start(&lab.place("default/client-1")?)?;
        let outside = Runner::start(&lab.place("client")?)?;
        let world = Self { lab, pod, outside };
        world.answers("web-1", WEB).await?;
        world.answers("web-2", WEB).await?;
        Ok(world)
    }

    fn client(&self, from: From) -> &Runner {
        match from {
            From::Pod => &self.pod,
            From::Outside => &self.outside,
        }
    }

    fn web(&self, from: From) -> anyhow::Result<(IpAddr, u16)> {
        match from {
            From::Pod => Ok((WEB, 80)),
            From::Outside => {
                let node = self.lab.state.plan.node(1).first().map(ipnet::IpNet::addr);
                Ok((node.context("a node without an address")?, NODE_PORT))
            }
        }
    }

    /// Waits until this pod answers at a Service's address.
    pub(crate) async fn answers(&self, name: &str, service: IpAddr) -> anyhow::Result<()> {
        self.becomes(service, Ok(name.to_owned())).await
    }

    /// Waits until a Service's address refuses connections.
    pub(crate) async fn refused(&self, service: IpAddr) -> anyhow::Result<()> {
        self.becomes(service, Err(Failure::Refused)).await
    }

    /// Waits until this is what comes from a Service's address.
    async fn becomes(&self, service: IpAddr, wanted: Result<String, Failure>) -> anyhow::Result<()> {
        let ask = async || {
            let query =
                Query { timeout: Duration::from_millis(500), ..Query::new(Kind::Tcp, (service, 80).into()) };
            let reply = self.pod.ask(query).await.map(|outcome| outcome.reply);
            reply.map(|reply| reply.map(|reply| reply.name))
        };
        let is =
            |reply: &std::io::Result<Result<String, Failure>>| reply.as_ref().is_ok_and(|it| *it == wanted);
        eventually_within(PATIENCE, &format!("{wanted:?} at {service}"), ask, is).await.map(drop)
    }

    /// Clients ask from everywhere while something happens; all of them must get answers.
    pub(crate) async fn unnoticed(
        &self,
        happens: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let mut loads: Vec<(From, bool, RunningLoad)> = Vec::new();
        for from in [From::Pod, From::Outside] {
            for one_connection in [false, true] {
                let query = Query::new(Kind::Tcp, self.web(from)?.into());
                let load = Load { query, every: Duration::from_millis(10), one_connection };
                loads.push((from, one_connection, self.client(from).start_load(load).await?));
            }
        }
        let happened = happens.await;
        let mut wrong = Vec::new();
        for (from, one_connection, load) in loads {
            let report = self.client(from).stop_load(load).await?;
            if report.failed() > 0 || report.asked < 10 {
                let how = if one_connection { "one connection" } else { "new connections" };
                wrong.push(format!("{from:?}, {how}: {report:?}"));
            }
        }
        happened?;
        ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
        Ok(())
    }

    /// As many new connections as say that all is well.
    pub(crate) async fn a_while(&self) -> anyhow::Result<()> {
        for _ in 0..100 {
            let outcome = self.pod.ask(Query::new(Kind::Tcp, (WEB, 80).into())).await?;
            ensure!(outcome.reply.is_ok(), "{outcome:?}");
        }
        Ok(())
    }

    /// Sends a signal to the control plane or to a node's agent.
    pub(crate) fn signal(&self, process: &str, signal: Signal) -> anyhow::Result<()> {
        let status = self.lab.status()?;
        let found = status.processes.iter().find(|one| one.name == process).and_then(|one| one.pid);
        let pid = found.with_context(|| format!("{process} does not run"))?;
        Ok(kill(Pid::from_raw(pid.try_into()?), signal)?)
    }

    /// Waits until a node's agent is ready.
    pub(crate) async fn ready(&self, node: &str) -> anyhow::Result<()> {
        let ready = async || self.lab.agent_health(node).map_err(|error| error.to_string());
        eventually_within(PATIENCE, "the agent is ready", ready, |status| *status == Ok(200)).await?.ok();
        Ok(())
    }
}
