//! How long a change takes from its source to the first connection, and what the agent costs.

mod client;
pub(crate) mod manifests;
pub(crate) mod process;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use fairway_tests::lab::{Families, Owner, Running, SocketLb, State, command, up};
use fairway_tests::traffic::{http_status, http_text};
use serde_json::{Value, json};

use self::client::{Orders, Times};
use self::manifests::{MEASURED, PODS};

/// How long the agent may take for all Services.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long nothing happens while idle CPU time is taken.
const IDLE: Duration = Duration::from_secs(5);

/// Measures the way of a change: from the manifest's rename to the first connection that the new backend answers.
///
/// One node of namespaces, with an agent, a control plane that reads a directory of manifests, and three pods: a client
/// that connects to a Service again and again, and two backends that take turns. Also measured: the agent's start with
/// empty tables, its memory, and CPU time.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Services
    #[arg(long, value_delimiter = ',', value_parser = crate::packet::number, default_value = "100,1k,10k,50k")]
    services: Vec<u32>,
    /// Endpoints of each Service
    #[arg(long, default_value_t = 4)]
    endpoints: u32,
    /// Changes of each kind: with nothing before them, and right after another
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// Starts of the agent with empty tables
    #[arg(long, default_value_t = 3)]
    starts: usize,
    /// Write the rows here too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The process inside a pod
    #[arg(long, hide = true)]
    inside: Option<String>,
}

/// Measures, prints the table and writes the file.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(orders) = &arguments.inside {
        return client::run(orders);
    }
    let mut rows = Vec::new();
    println!(
        "{:10}{:>9}{:>10}{:>9}{:>9}{:>10}{:>10}{:>9}{:>9}{:>9}{:>12}{:>11}{:>9}",
        "PEER",
        "SERVICES",
        "P50",
        "P99",
        "NEXT P50",
        "P99",
        "FULL SYNC",
        "START",
        "RSS",
        "CONTROL",
        "CPU/CHANGE",
        "CONTROL",
        "IDLE"
    );
    for services in &arguments.services {
        let row = World::build([*services, arguments.endpoints])?.measure(arguments)?;
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:10}{services:>9}{:>7.1} ms{:>6.1} ms{:>6.1} ms{:>7.1} ms{:>8.2} s{:>7.2} s{:>5.0} MiB{:>5.0} MiB{:>9.2} ms{:>8.2} ms{:>7.1} %",
            "fairway",
            number("change_p50_ms"),
            number("change_p99_ms"),
            number("next_p50_ms"),
            number("next_p99_ms"),
            number("full_sync_s"),
            number("start_s"),
            number("rss_mib"),
            number("control_rss_mib"),
            number("cpu_ms_per_change"),
            number("control_cpu_ms_per_change"),
            number("idle_cpu_percent"),
        );
        rows.push(row);
    }
    let reason = "it needs a Kubernetes API server, which this machine does not run";
    println!("{:12}skipped: {reason}", "kube-proxy");
    rows.push(json!({ "peer": "kube-proxy", "skipped": reason }));
    if let Some(path) = &arguments.json {
        fs::write(path, format!("{:#}\n", json!({ "rows": rows })))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// A process that ends with this.
struct Control(Child);

impl Drop for Control {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    services: u32,
    endpoints: u32,
    lab: Running,
    control: Control,
    manifests: PathBuf,
}

impl World {
    /// A node with its pods, and a control plane that declares so many Services.
    fn build([services, endpoints]: [u32; 2]) -> Result<Self> {
        let id = format!("prog-{}", std::process::id());
        let pods = std::env::temp_dir().join(format!("fairway-{id}.yaml"));
        fs::write(&pods, manifests::pods())?;
        let mut state = State::new(&id, &pods, 1, Families::Dual, SocketLb::All);
        state.owner = Owner::of(std::process::id());
        let lab = Running::new(up(state, &mut |_| {})?);
        fs::remove_file(&pods)?;
        // Another directory than the lab's: whoever plays the kubelet reads that one.
        lab.stop("control", false)?;
        let manifests = lab.state.directory().join("cluster");
        fs::create_dir(&manifests)?;
        for entry in fs::read_dir(lab.state.manifests())? {
            let entry = entry?;
            fs::copy(entry.path(), manifests.join(entry.file_name()))?;
        }
        manifests::replace(&manifests.join("measured.yaml"), &manifests::service("measured", MEASURED))?;
        manifests::fill(&manifests, services, endpoints)?;
        let control = start_control(&lab.state, &manifests)?;
        let world = Self { services, endpoints, lab, control, manifests };
        world.wait_for_frontends()?;
        Ok(world)
    }

    fn measure(self, arguments: &Arguments) -> Result<Value> {
        let mut starts =
            (0..arguments.starts.max(1)).map(|_| self.start_empty()).collect::<Result<Vec<_>>>()?;
        starts.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (start, full_sync) = starts[starts.len() / 2];
        let (agent, control) = (self.pid("node1")?, self.control.0.id());
        let before = [process::cpu(agent)?, process::cpu(control)?];
        let mut times = self.changes(arguments.rounds)?;
        let changes = 2.0 * arguments.rounds as f64;
        let used = |before: Duration, after: Duration| (after - before).as_secs_f64() * 1e3;
        let after = [process::cpu(agent)?, process::cpu(control)?];
        std::thread::sleep(IDLE);
        let idle = [process::cpu(agent)?, process::cpu(control)?];
        let [rss, pss] = process::memory(agent)?;
        let [control_rss, _] = process::memory(control)?;
        Ok(json!({
            "peer": "fairway", "services": self.services, "endpoints": self.endpoints,
            "change_p50_ms": quantile(&mut times.apart, 0.5), "change_p99_ms": quantile(&mut times.apart, 0.99),
            "next_p50_ms": quantile(&mut times.next, 0.5), "next_p99_ms": quantile(&mut times.next, 0.99),
            "full_sync_s": full_sync, "start_s": start, "rss_mib": rss, "pss_mib": pss, "control_rss_mib": control_rss,
            "cpu_ms_per_change": used(before[0], after[0]) / changes,
            "control_cpu_ms_per_change": used(before[1], after[1]) / changes,
            "idle_cpu_percent": used(after[0], idle[0]) / IDLE.as_millis() as f64 * 100.0,
            "control_idle_cpu_percent": used(after[1], idle[1]) / IDLE.as_millis() as f64 * 100.0,
            "change_ms": times.apart, "next_ms": times.next,
        }))
    }

    fn pid(&self, name: &str) -> Result<u32> {
        let status = self.lab.status()?;
        let process = status.processes.iter().find(|process| process.name == name);
        process.and_then(|process| process.pid).with_context(|| format!("`{name}` does not run"))
    }

    /// Waits until the agent serves all of them.
    fn wait_for_frontends(&self) -> Result<()> {
        let page = (std::net::Ipv4Addr::LOCALHOST, 10256).into();
        let ask = || http_text(page, "/metrics", Duration::from_secs(10));
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.lab.state.netns("node1").within(ask).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("fairway_frontends "));
            if line.and_then(|number| number.parse::<u32>().ok()).is_some_and(|it| it > self.services) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the agent does not serve {} Services", self.services);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts the agent with empty tables and no last state; seconds until it is ready, and from its connection to the
    /// control plane to the end of the first sync.
    fn start_empty(&self) -> Result<(f64, f64)> {
        let state = &self.lab.state;
        self.lab.stop("node1", false)?;
        fs::remove_dir_all(state.pins(Some("node1")))?;
        fs::remove_file(state.directory().join("node1/state/cluster.pb"))?;
        let log = state.log("node1");
        let from = fs::metadata(&log)?.len() as usize;
        let start = Instant::now();
        self.lab.start("node1")?;
        let page = (std::net::Ipv4Addr::LOCALHOST, 10256).into();
        let netns = state.netns("node1");
        let ready = || netns.within(|| http_status(page, "/readyz", Duration::from_secs(5))).ok();
        while ready() != Some(200) {
            ensure!(start.elapsed() < PATIENCE, "the agent does not become ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        let ready = start.elapsed().as_secs_f64();
        let text = fs::read_to_string(&log)?;
        let new = text.get(from..).unwrap_or_default();
        let time = |word: &str| {
            let line =
                new.lines().find(|line| line.contains(word)).with_context(|| format!("not `{word}`"))?;
            seconds(line).context("a line without a time")
        };
        self.wait_for_frontends()?;
        Ok((ready, time("applied")? - time("connected")?))
    }

    /// Changes the Service's endpoints, and connects from a pod.
    fn changes(&self, changes: usize) -> Result<Times> {
        let state = &self.lab.state;
        let backend = |name: &str| -> Result<_> {
            let pod = self.lab.pod(&format!("default/{name}"))?;
            let address = pod.addresses.into_iter().find(|address| address.is_ipv4());
            Ok((pod.place.netns, address.context("a pod without address")?))
        };
        let [client, a, b] = PODS;
        let manifest = self.manifests.join("endpoints.yaml");
        let orders = Orders { backends: [backend(a)?, backend(b)?], manifest, changes };
        let place = state.pod_place("node1", &format!("default/{client}"), false);
        let mut again = command(&place, std::env::current_exe()?)?;
        let output = again
            .args(["programming", "--inside", &serde_json::to_string(&orders)?])
            .stderr(std::process::Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "the client in the pod failed");
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

fn start_control(state: &State, manifests: &Path) -> Result<Control> {
    let log = File::options().create(true).append(true).open(state.log("control"))?;
    let mut command: Command = command(&state.place("underlay"), "fairway-control")?;
    command.arg("--manifests").arg(manifests);
    command.arg("--listen").arg(format!("unix://{}", state.control_socket().display()));
    let child = command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    Ok(Control(child))
}

/// The time of a log line, in seconds of the day.
fn seconds(line: &str) -> Option<f64> {
    let (_, time) = line.split_once('T')?;
    let (time, _) = time.split_once('Z')?;
    let mut fields = time.split(':').map(|field| field.parse::<f64>().ok());
    let (hours, minutes, seconds) = (fields.next()??, fields.next()??, fields.next()??);
    Some(hours * 3600.0 + minutes * 60.0 + seconds)
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * share).ceil() as usize;
    values.get(index.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
