//! A lab of three nodes with a pod on each, a server on each node, and one outside.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, ensure};
use fairway_tests::eventually_within;
use fairway_tests::lab::{Families, Running, SERVER_PORT, SocketLb, State, server_pod};
use fairway_tests::traffic::{Kind, Load, LoadReport, Outcome, Query, Runner, RunningLoad, http_text};

pub(crate) const NATIVE: &str = "native";
pub(crate) const VXLAN: &str = "vxlan";

pub(crate) const NODES: [&str; 3] = ["node1", "node2", "node3"];
pub(crate) const PODS: [&str; 3] = ["pod1", "pod2", "pod3"];
pub(crate) const CLIENT: &str = "client";
/// Where every server listens; on nodes other ports are the agent's.
pub(crate) const PORT: u16 = SERVER_PORT;
/// Leads to the pod of node2.
pub(crate) const NODE_PORT: u16 = 31_002;

pub(crate) struct World {
    pub(crate) lab: Running,
    pub(crate) families: Families,
    clients: BTreeMap<&'static str, Runner>,
    servers: Vec<Child>,
}

/// A Service at every node's port, and at a cluster IP of the lab's families.
fn service(families: Families) -> String {
    let addresses: [IpAddr; 2] = ["10.96.1.102", "fd00:10:96::166"].map(|text| text.parse().expect("it is"));
    let own: Vec<IpAddr> = addresses.into_iter().filter(|address| families.has(*address)).collect();
    let quoted: Vec<String> = own.iter().map(|address| format!("\"{address}\"")).collect();
    let names: Vec<&str> = own.iter().map(|it| if it.is_ipv4() { "IPv4" } else { "IPv6" }).collect();
    format!(
        r#"---
apiVersion: v1
kind: Service
metadata: {{name: far}}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  ipFamilies: [{}]
  clusterIP: {}
  clusterIPs: [{}]
  selector: {{app: pod2}}
  ports:
    - {{name: tcp, protocol: TCP, port: 80, targetPort: {PORT}, nodePort: {NODE_PORT}}}
    - {{name: udp, protocol: UDP, port: 80, targetPort: {PORT}, nodePort: {NODE_PORT}}}
"#,
        names.join(", "),
        quoted.first().cloned().unwrap_or_default(),
        quoted.join(", ")
    )
}

impl World {
    pub(crate) fn name_of(routing: &str, families: Families) -> String {
        let families = match families {
            Families::Ipv4 => "ipv4",
            Families::Ipv6 => "ipv6",
            Families::Dual => "dual",
        };
        format!("{routing}-{families}")
    }

    pub(crate) async fn up(routing: &str, families: Families, socket_lb: SocketLb) -> anyhow::Result<Self> {
        let name = Self::name_of(routing, families);
        let mut state = State::of_this_process(&name, NODES.len() as u8, families, socket_lb);
        state.settings.insert("routing".into(), routing.into());
        state.settings.insert("masquerade".into(), "all".into());
        let lab = Running::up(state).await?;
        let pods: String = PODS
            .iter()
            .zip(NODES)
            .map(|(name, node)| server_pod(name, node, &format!("app: {name}")))
            .collect();
        lab.manifests().apply_text(&(pods + &service(families)))?;
        lab.pods_ready(PODS.len()).await?;
        let servers = NODES.iter().chain([&CLIENT]).map(|place| {
            let port = PORT.to_string();
            let words = ["serve", "--name", place, "--tcp", &port, "--udp", &port];
            lab.command(place, "fairway-lab")?.args(words).spawn()
        });
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let clients = NODES.into_iter().chain(PODS).chain([CLIENT]).map(|name| {
            let place = lab.place(&Self::place(name))?;
            Ok((name, Runner::start(&place)?))
        });
        let clients = clients.collect::<anyhow::Result<_>>()?;
        let world = Self { lab, families, clients, servers };
        world.wait_for_ways().await?;
        Ok(world)
    }

    fn place(name: &str) -> String {
        if PODS.contains(&name) { format!("default/{name}") } else { name.to_owned() }
    }

    /// Node objects need a moment until every agent knows them.
    async fn wait_for_ways(&self) -> anyhow::Result<()> {
        for from in NODES.into_iter().chain(PODS) {
            for to in PODS.into_iter().chain(NODES) {
                for v6 in self.v6() {
                    self.reaches(from, to, v6).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits until a place is reached.
    pub(crate) async fn reaches(&self, from: &'static str, to: &str, v6: bool) -> anyhow::Result<()> {
        let what = format!("{from} to {to}, IPv{}", if v6 { 6 } else { 4 });
        let ask = async || {
            let query = Query { timeout: Duration::from_millis(500), ..self.query(Kind::Tcp, to, v6)? };
            self.ask(from, query).await
        };
        let limit = Duration::from_secs(20);
        let done =
            eventually_within(limit, &what, ask, |it| it.as_ref().is_ok_and(|it| it.name() == Some(to)));
        done.await?.map(drop)
    }

    /// The lab's families: false is IPv4.
    pub(crate) fn v6(&self) -> Vec<bool> {
        match self.families {
            Families::Ipv4 => vec![false],
            Families::Ipv6 => vec![true],
            Families::Dual => vec![false, true],
        }
    }

    pub(crate) fn is_vxlan(&self) -> bool {
        self.lab.state.settings.get("routing").is_some_and(|routing| routing == VXLAN)
    }

    /// The address of a node, a pod, or the client.
    pub(crate) fn address(&self, name: &str, v6: bool) -> anyhow::Result<IpAddr> {
        let plan = self.lab.state.plan;
        let addresses: Vec<IpAddr> = if PODS.contains(&name) {
            self.lab.pod(&format!("default/{name}"))?.addresses
        } else if let Some(number) = plan.number(name) {
            plan.node(number).iter().map(ipnet::IpNet::addr).collect()
        } else {
            plan.client().iter().map(ipnet::IpNet::addr).collect()
        };
        let found = addresses.into_iter().find(|address| address.is_ipv6() == v6);
        found.with_context(|| format!("{name} has no address of that family"))
    }

    /// A question to the server in a place.
    pub(crate) fn query(&self, kind: Kind, to: &str, v6: bool) -> anyhow::Result<Query> {
        Ok(Query::new(kind, (self.address(to, v6)?, PORT).into()))
    }

    pub(crate) async fn ask(&self, from: &str, query: Query) -> anyhow::Result<Outcome> {
        Ok(self.clients.get(from).with_context(|| format!("no client in {from}"))?.ask(query).await?)
    }

    pub(crate) async fn start(&self, from: &str, load: Load) -> anyhow::Result<RunningLoad> {
        Ok(self.clients.get(from).context("no such client")?.start_load(load).await?)
    }

    pub(crate) async fn stop(&self, from: &str, load: RunningLoad) -> anyhow::Result<LoadReport> {
        Ok(self.clients.get(from).context("no such client")?.stop_load(load).await?)
    }

    /// Whom the server in a place sees when it is asked; once more if nothing came, since nobody promises that a datagram
    /// arrives, and a sender is told once what does not fit.
    pub(crate) async fn seen(
        &self,
        kind: Kind,
        from: &str,
        to: &str,
        size: usize,
        v6: bool,
    ) -> anyhow::Result<IpAddr> {
        let query = Query { size, ..self.query(kind, to, v6)? };
        let mut outcome = self.ask(from, query).await?;
        if outcome.reply.is_err() && kind != Kind::Tcp {
            outcome = self.ask(from, query).await?;
        }
        match outcome.reply {
            Ok(reply) => {
                ensure!(kind == Kind::Ping || reply.name == to, "`{}` answered", reply.name);
                Ok(reply.client.ip())
            }
            Err(failure) => {
                anyhow::bail!("{kind:?} {size} bytes from {from} to {to} {}: {failure:?}", query.to.ip())
            }
        }
    }

    /// Runs a program in a place; what it wrote.
    pub(crate) fn run(&self, place: &str, words: &str) -> anyhow::Result<String> {
        let words: Vec<&str> = words.split(' ').collect();
        let output = self.lab.run(&Self::place(place), &words)?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// How often a node's agent counts a reason.
    pub(crate) fn count(&self, node: &str, reason: &str) -> anyhow::Result<u64> {
        let page = self.lab.state.netns(node).within(|| {
            http_text((std::net::Ipv4Addr::LOCALHOST, 10256).into(), "/metrics", Duration::from_secs(5))
        })?;
        let wanted = format!("reason=\"{reason}\"");
        let line =
            page.lines().find(|line| line.starts_with("fairway_packets_total{") && line.contains(&wanted));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        count.with_context(|| format!("`{reason}` is not counted"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // The lab's own clean-up ends it too.
            server.kill().and_then(|()| server.wait()).ok();
        }
    }
}
