//! What goes on while something stops.

use std::time::Duration;

use anyhow::ensure;
use fairway_tests::traffic::{Kind, Load, LoadReport, RunningLoad};
use fairway_tests::{eventually, eventually_within};

use super::Demo;
use super::calls::query;
use super::report::Report;

pub(super) async fn run(demo: &Demo, report: &mut Report) {
    report.step("a backend is removed under load", backend_removed(demo)).await;
    report.step("the agent of node1 is killed under load", agent_killed(demo)).await;
    report.step("the control plane is stopped", control_stopped(demo)).await;
}

/// New connections from a pod and from outside.
struct Loads {
    pod: RunningLoad,
    outside: RunningLoad,
    held: RunningLoad,
}

async fn start(demo: &Demo) -> anyhow::Result<Loads> {
    let load = |kind, to, one_connection| {
        anyhow::Ok(Load { query: query(kind, to)?, every: Duration::from_millis(5), one_connection })
    };
    Ok(Loads {
        pod: demo.pod.start_load(load(Kind::Http, "10.96.0.80:80", false)?).await?,
        outside: demo.outside.start_load(load(Kind::Http, "203.0.113.80:80", false)?).await?,
        held: demo.outside.start_load(load(Kind::Tcp, "192.168.50.1:30007", true)?).await?,
    })
}

async fn stop(demo: &Demo, loads: Loads) -> anyhow::Result<String> {
    let pod = demo.pod.stop_load(loads.pod).await?;
    let outside = demo.outside.stop_load(loads.outside).await?;
    let held = demo.outside.stop_load(loads.held).await?;
    let failed = |report: &LoadReport| report.failed() > 0 || report.asked == 0;
    ensure!(!failed(&pod), "from the pod: {:?}", pod.failures);
    ensure!(!failed(&outside), "from outside: {:?}", outside.failures);
    ensure!(!failed(&held), "on one connection: {:?}", held.failures);
    let (new, kept) = (pod.asked + outside.asked, held.asked);
    Ok(format!("{new} new connections and {kept} requests on an old one, none failed"))
}

/// Waits until the names are the only ones that answer.
async fn answered_by(demo: &Demo, names: &[&str]) -> anyhow::Result<()> {
    let ask = || async {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..12 {
            let Ok(query) = query(Kind::Http, "10.96.0.80:80") else { continue };
            let outcome = demo.pod.ask(query).await;
            seen.insert(outcome.map_or_else(|e| e.to_string(), |o| format!("{:?}", o.name())));
        }
        seen
    };
    let wanted = names.iter().map(|name| format!("{:?}", Some(name))).collect();
    eventually("new connections move", ask, |seen| *seen == wanted).await?;
    Ok(())
}

async fn backend_removed(demo: &Demo) -> anyhow::Result<String> {
    let manifests = demo.lab.manifests();
    let (all, _) = manifests.all();
    let pod = all.into_iter().find(|object| object.kind() == "Pod" && object.name() == "default/web-2");
    let loads = start(demo).await?;
    manifests.remove("Pod", "default/web-2")?;
    let moved = answered_by(demo, &["web-1"]).await;
    let gone = || async { demo.lab.pod("default/web-2").is_err() };
    let gone = eventually("web-2 ends", gone, |gone| *gone).await;
    manifests.put(pod.as_slice())?;
    let back = answered_by(demo, &["web-1", "web-2"]).await;
    let told = stop(demo, loads).await?;
    moved?;
    gone?;
    back?;
    Ok(format!("web-2 went and came back; {told}"))
}

async fn agent_killed(demo: &Demo) -> anyhow::Result<String> {
    let loads = start(demo).await?;
    demo.lab.stop("node1", true)?;
    ask_for_a_while(demo).await?;
    demo.lab.start("node1")?;
    let ready = || async { demo.lab.agent_health("node1").map_err(|error| error.to_string()) };
    let limit = Duration::from_secs(15);
    let ready = eventually_within(limit, "the next agent is ready", ready, |s| *s == Ok(200)).await;
    let told = stop(demo, loads).await?;
    ready?.ok();
    Ok(format!("the next agent took over; {told}"))
}

async fn control_stopped(demo: &Demo) -> anyhow::Result<String> {
    demo.lab.stop("control", false)?;
    let loads = start(demo).await?;
    let both = answered_by(demo, &["web-1", "web-2"]).await;
    ask_for_a_while(demo).await?;
    let told = stop(demo, loads).await;
    demo.lab.start("control")?;
    both?;
    told
}

/// As long as it takes to ask two hundred times.
async fn ask_for_a_while(demo: &Demo) -> anyhow::Result<()> {
    for _ in 0..200 {
        demo.node.ask(query(Kind::Http, "10.96.0.80:80")?).await?;
    }
    Ok(())
}
