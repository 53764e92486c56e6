//! Who reaches what.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{bail, ensure};
use fairway_tests::eventually;
use fairway_tests::traffic::{Failure, Kind, Outcome, Query, Runner};

use super::Demo;
use super::report::Report;

/// Client, what is shown, how, to whom, and who may answer.
type Call<'a> = (&'a Runner, &'a str, Kind, &'a str, &'a [&'a str]);

const WEB: &[&str] = &["web-1", "web-2"];
const ECHO: &[&str] = &["echo-1", "echo-2"];

pub(super) async fn run(demo: &Demo, report: &mut Report) {
    let (pod, node, outside) = (&demo.pod, &demo.node, &demo.outside);
    let calls: [Call<'_>; 15] = [
        (pod, "pod on node1 -> backend on its node", Kind::Http, "10.96.0.80:80", &WEB[..1]),
        (pod, "pod on node1 -> backend on node2", Kind::Http, "10.96.0.80:80", &WEB[1..]),
        (pod, "the same over IPv6", Kind::Http, "[fd00:10:96::80]:80", &WEB[1..]),
        (pod, "pod -> UDP service", Kind::Udp, "10.96.0.7:7", ECHO),
        (pod, "the same from a socket that is not connected", Kind::UdpUnconnected, "10.96.0.7:7", ECHO),
        (pod, "pod -> UDP service over IPv6", Kind::Udp, "[fd00:10:96::7]:7", ECHO),
        (node, "process on node1 -> backend on its node", Kind::Http, "10.96.0.80:80", &WEB[..1]),
        (node, "process on node1 -> backend on node2", Kind::Http, "10.96.0.80:80", &WEB[1..]),
        (outside, "outside -> node port of node1", Kind::Http, "192.168.50.1:30080", WEB),
        (outside, "outside -> node port of node2", Kind::Http, "192.168.50.2:30080", WEB),
        (outside, "outside -> node port over IPv6", Kind::Http, "[fd00:50::2]:30080", WEB),
        (outside, "outside -> UDP node port", Kind::Udp, "192.168.50.1:30007", ECHO),
        (outside, "outside -> load balancer's address", Kind::Http, "203.0.113.80:80", WEB),
        (outside, "outside -> load balancer's address over IPv6", Kind::Http, "[fd00:203::80]:80", WEB),
        (outside, "outside -> external address", Kind::Http, "198.51.100.80:80", WEB),
    ];
    for (client, what, kind, to, names) in calls {
        report.step(what, reaches(client, kind, to, names)).await;
    }
    report.step("outside -> frontend pod -> store pod", frontend(demo)).await;
    let refused: [(&Runner, &str, Kind, &str); 5] = [
        (pod, "a service without endpoints refuses TCP", Kind::Tcp, "10.96.0.99:80"),
        (pod, "... and UDP", Kind::Udp, "10.96.0.99:80"),
        (pod, "... and over IPv6", Kind::Tcp, "[fd00:10:96::99]:80"),
        (node, "... from the node", Kind::Tcp, "10.96.0.99:80"),
        (outside, "... from outside", Kind::Tcp, "192.168.50.1:30099"),
    ];
    for (client, what, kind, to) in refused {
        report.step(what, is_refused(client, kind, to)).await;
    }
}

pub(super) fn query(kind: Kind, to: &str) -> anyhow::Result<Query> {
    Ok(Query::new(kind, to.parse::<SocketAddr>()?))
}

/// Asks until one of `names` has answered; another answer is no error, no answer is.
async fn reaches(client: &Runner, kind: Kind, to: &str, names: &[&str]) -> anyhow::Result<String> {
    let query = query(kind, to)?;
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let outcome = eventually_known(client, query).await?;
        let micros = outcome.micros;
        match outcome.reply {
            Ok(reply) if names.contains(&reply.name.as_str()) => {
                return Ok(format!(
                    "{to} answered by {} in {micros} µs, it sees {}",
                    reply.name,
                    reply.client.ip()
                ));
            }
            Ok(reply) => drop(seen.insert(reply.name)),
            Err(failure) => bail!("{to}: {failure:?}"),
        }
    }
    bail!("{to}: only {seen:?} answered")
}

/// A refusal right after the start means that the endpoints are still on their way.
async fn eventually_known(client: &Runner, query: Query) -> anyhow::Result<Outcome> {
    let ask = || async { client.ask(query).await };
    let settled = |outcome: &std::io::Result<Outcome>| {
        !outcome.as_ref().is_ok_and(|o| matches!(o.reply, Err(Failure::Refused | Failure::NotPermitted)))
    };
    Ok(eventually(&format!("{}", query.to), ask, settled).await??)
}

async fn is_refused(client: &Runner, kind: Kind, to: &str) -> anyhow::Result<String> {
    let outcome = client.ask(query(kind, to)?).await?;
    match outcome.reply {
        Err(Failure::Refused) => Ok(format!("{to} refused in {} µs", outcome.micros)),
        // Socket programs cannot choose another error for a datagram.
        Err(Failure::NotPermitted) if kind == Kind::Udp => Ok(format!("{to} not permitted")),
        other => bail!("{to}: {other:?}"),
    }
}

async fn frontend(demo: &Demo) -> anyhow::Result<String> {
    let asked = demo.lab.run("client", &["fairway-lab", "request", "page", "192.168.50.2:30081"])?;
    let answer = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    ensure!(asked.status.success(), "{answer} {}", String::from_utf8_lossy(&asked.stderr).trim());
    Ok(format!("192.168.50.2:30081 says `{answer}`"))
}
