//! `fairway-lab demo`: what Fairway does, in steps that each ask and check.

mod calls;
mod outages;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use fairway_tests::lab::{
    Families, Lab, Owner, Running, Runtime, SocketLb, State, UpError, down, keep_logs, up,
};
use fairway_tests::traffic::Runner;
use report::Report;

/// The lab and its clients.
struct Demo {
    lab: Lab,
    pod: Runner,
    node: Runner,
    outside: Runner,
}

/// Runs the demo; failure when one of its checks failed.
pub(crate) async fn run(keep: bool, examples: Option<PathBuf>, runtime: Runtime) -> anyhow::Result<ExitCode> {
    let examples = examples.map_or_else(find_examples, Ok)?;
    let examples = examples.canonicalize().with_context(|| format!("`{}`", examples.display()))?;
    let start = Instant::now();
    let id = if keep { "demo".to_owned() } else { format!("demo-{}", std::process::id()) };
    let mut state = State::new(&id, &examples, 2, Families::Dual, SocketLb::All);
    state.runtime = runtime;
    // An interrupted demo leaves nothing behind: the lab ends with its owner.
    state.owner = Owner::of(std::process::id()).filter(|_| !keep);
    let lab = bring_up(state, keep).await?;
    let mut report = Report::new();
    let by = if runtime == Runtime::Containerd { ", pods by containerd" } else { "" };
    report.say(&format!("2 nodes, IPv4 and IPv6, with the examples of {}{by}", examples.display()));
    report.say(&format!("up after {:.1?}", start.elapsed()));
    let demo = Demo::new(&lab)?;
    calls::run(&demo, &mut report).await;
    outages::run(&demo, &mut report).await;
    drop(demo);
    if keep {
        report.say("the lab stays up; try next:");
        NEXT.iter().for_each(|line| report.say(&format!("  fairway-lab --id demo {line}")));
        lab.keep();
    } else if report.failed() > 0 {
        let logs = keep_logs(&lab.state)?;
        report.say(&format!("logs: {}", logs.display()));
    }
    Ok(report.finish())
}

/// A lab that did not come up and is not to be kept leaves its logs alone.
async fn bring_up(state: State, keep: bool) -> anyhow::Result<Running> {
    let wanted = state.clone();
    let lab = tokio::task::spawn_blocking(move || up(wanted, &mut crate::cli::progress()));
    let error = match lab.await? {
        Ok(lab) => return Ok(Running::new(lab)),
        Err(error @ UpError::NotReady { .. }) if !keep => error,
        Err(error) => return Err(error.into()),
    };
    let logs = keep_logs(&state)?;
    down(&state)?;
    Err(anyhow::Error::new(error)
        .context(format!("the demo's lab is down again; its logs are in {}", logs.display())))
}

const NEXT: [&str; 5] = [
    "status",
    "exec node1 -- fairway svc list",
    "exec default/frontend -- fairway-lab request http 10.96.0.80:80",
    "exec client -- fairway-lab request http 192.168.50.2:30080",
    "down",
];

/// The examples of the source tree that this was built from, or those of the working directory.
fn find_examples() -> anyhow::Result<PathBuf> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let candidates = [PathBuf::from("examples"), built_from];
    let found = candidates.into_iter().find(|path| path.is_dir());
    found.context("no directory `examples` here: name it with --examples DIR")
}

impl Demo {
    fn new(lab: &Lab) -> anyhow::Result<Self> {
        let client = |target: &str| anyhow::Ok(Runner::start(&lab.place(target)?)?);
        Ok(Self {
            lab: lab.clone(),
            pod: client("default/frontend")?,
            node: client("node1")?,
            outside: client("client")?,
        })
    }
}
