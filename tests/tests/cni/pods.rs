//! Pods of a container runtime: their network, and what becomes of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::ensure;
use fairway_tests::eventually;
use fairway_tests::lab::{Cgroup, Netns, command};
use fairway_tests::runtime::{Cri, Pod, Port};
use fairway_tests::traffic::{Failure, Kind, Query, Runner};
use fairway_tests::trial::Trial;
use futures::FutureExt;
use futures::future::try_join_all;

use super::held::Held;
use super::own::{OwnPod, wanted};
use super::world::{NODES, World, service};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S124, S126
    ("pods_of_a_runtime_reach_each_other_and_a_service", |world| reach(world).boxed()),
    // S115, S116
    ("a_pod_that_a_runtime_stops_leaves_nothing_on_the_node", |world| stop(world).boxed()),
    // S116
    ("a_pod_may_be_stopped_twice", |world| stop_twice(world).boxed()),
    // S80
    ("a_host_port_that_a_runtime_passes_on_leads_to_its_pod", |world| host_port(world).boxed()),
    ("the_annotations_of_bandwidth_limit_a_pod_at_both_ends", |world| limits(world).boxed()),
    // S118, S126
    ("fifty_pods_started_at_once_have_addresses_of_their_own_and_reach_a_service", |w| fifty(w).boxed()),
];

async fn reach(world: &World) -> anyhow::Result<()> {
    let pod = OwnPod::start(world, NODES[0], "reach").await?;
    let other = OwnPod::start(world, NODES[1], "reached").await?;
    for v6 in [false, true] {
        for (what, to, name) in [
            ("own node", (world.endpoint(NODES[0], v6)?, 8080), "web-node1"),
            ("other node", (world.endpoint(NODES[1], v6)?, 8080), "web-node2"),
            ("the other test's pod", (other.address(v6)?, 8080), "reached"),
        ] {
            let found = pod.name("tcp", to).await;
            ensure!(found == name, "{what}, IPv6 {v6}: {found}");
        }
        for how in ["tcp", "udp", "udp-unconnected"] {
            let mut seen = BTreeSet::new();
            for _ in 0..40 {
                seen.insert(pod.name(how, service(v6)).await);
                if seen.len() == 2 {
                    break;
                }
            }
            let wanted = BTreeSet::from(["web-node1".to_owned(), "web-node2".to_owned()]);
            ensure!(seen == wanted, "{how} to the Service, IPv6 {v6}: {seen:?}");
        }
    }
    // The socket programs see a container's calls: the peer of its connection is the Service all the same.
    let outcome = pod.ask("tcp", service(false)).await?;
    ensure!(outcome.peer == Some(service(false).into()), "{outcome:?}");
    pod.end().await?;
    other.end().await
}

async fn stop(world: &World) -> anyhow::Result<()> {
    let before = Held::on(&world.lab, NODES[0])?;
    let pod = OwnPod::start(world, NODES[0], "stops").await?;
    let addresses: BTreeSet<_> = pod.addresses.iter().copied().collect();
    let netns = pod.cri.netns(&pod.id).await?;
    let held = Held::on(&world.lab, NODES[0])?;
    ensure!(addresses.is_subset(&held.routes) && addresses.is_subset(&held.entries), "{held:?}");
    ensure!(held.devices.len() == before.devices.len() + 1, "{held:?}");
    pod.cri.stop_pod(&pod.id).await?;
    ensure!(Held::on(&world.lab, NODES[0])? == before, "{:?}, before {before:?}", held);
    ensure!(!netns.exists(), "{} is there", netns.display());
    pod.cri.remove_pod(&pod.id).await?;
    ensure!(pod.cri.netns(&pod.id).await.is_err(), "the runtime still knows it");
    Ok(())
}

async fn stop_twice(world: &World) -> anyhow::Result<()> {
    let pod = OwnPod::start(world, NODES[0], "stops-twice").await?;
    pod.cri.stop_pod(&pod.id).await?;
    pod.cri.stop_pod(&pod.id).await?;
    pod.cri.remove_pod(&pod.id).await?;
    pod.cri.remove_pod(&pod.id).await?;
    Ok(())
}

async fn host_port(world: &World) -> anyhow::Result<()> {
    const PORT: u16 = 8089;
    let ports = vec![Port { node: PORT, pod: 8080, ..Port::default() }];
    let pod = Pod { ports, ..wanted(world, NODES[0], "host-port") };
    let pod = OwnPod::start_as(world.cri(NODES[0]).await?, &pod).await?;
    let outside = Runner::start(&world.lab.place("client")?)?;
    let addresses: Vec<_> = world.lab.state.plan.node(1).iter().map(|net| net.addr()).collect();
    for address in &addresses {
        let outcome = outside.ask(Query::new(Kind::Tcp, (*address, PORT).into())).await?;
        ensure!(outcome.name() == Some("host-port"), "port {PORT} at {address}: {outcome:?}");
    }
    pod.end().await?;
    for address in addresses {
        let ask =
            || async { outside.ask(Query::new(Kind::Tcp, (address, PORT).into())).await.map(|it| it.reply) };
        let refused = |reply: &std::io::Result<_>| matches!(reply, Ok(Err(Failure::Refused)));
        eventually("the port leads nowhere", ask, refused).await?.ok();
    }
    Ok(())
}

/// What passes is measured in the lab's suite; here it counts what the runtime makes of the annotations.
async fn limits(world: &World) -> anyhow::Result<()> {
    let annotation = |way: &str, rate: &str| (format!("kubernetes.io/{way}-bandwidth"), rate.to_owned());
    let annotations = vec![annotation("ingress", "20M"), annotation("egress", "30M")];
    let pod = Pod { annotations, ..wanted(world, NODES[0], "limits") };
    let pod = OwnPod::start_as(world.cri(NODES[0]).await?, &pod).await?;
    let (received, sent) =
        (world.run(NODES[0], "tc qdisc show")?, pod.run("/usr/sbin/tc qdisc show dev eth0").await?);
    for (queues, rate) in [(&received, "rate 20Mbit burst 64Kb"), (&sent, "rate 30Mbit burst 64Kb")] {
        ensure!(queues.contains("tbf") && queues.contains(rate), "{rate}: {queues}");
    }
    let name = pod.name("tcp", service(false)).await;
    ensure!(name.starts_with("web-"), "the Service: {name}");
    pod.end().await?;
    ensure!(!world.run(NODES[0], "tc qdisc show")?.contains("tbf"), "a limit is left");
    Ok(())
}

async fn fifty(world: &World) -> anyhow::Result<()> {
    let before = Held::on(&world.lab, NODES[0])?;
    let cri = world.cri(NODES[0]).await?;
    let names: Vec<String> = (0..50).map(|number| format!("fifty-{number}")).collect();
    let pods: Vec<Pod> = names.iter().map(|name| wanted(world, NODES[0], name)).collect();
    let ids = try_join_all(pods.iter().map(|pod| cri.run_pod(pod))).await?;
    let addresses = try_join_all(ids.iter().map(|id| cri.addresses(id))).await?.concat();
    let different: BTreeSet<_> = addresses.iter().collect();
    ensure!(different.len() == 100, "{} addresses of 100", different.len());
    let first = ids.iter().zip(&pods).map(|(id, pod)| ask_in(world, &cri, id, pod));
    let first = try_join_all(first).await?;
    ensure!(first.iter().all(|name| name.starts_with("web-")), "{first:?}");
    try_join_all(ids.iter().map(|id| cri.stop_pod(id))).await?;
    try_join_all(ids.iter().map(|id| cri.remove_pod(id))).await?;
    let after = Held::on(&world.lab, NODES[0])?;
    ensure!(after == before, "{after:?}, before {before:?}");
    Ok(())
}

/// What a process in the pod's namespace is told by the Service.
async fn ask_in(world: &World, cri: &Cri, id: &str, pod: &Pod) -> anyhow::Result<String> {
    let place = world.lab.state.pod_place(NODES[0], &pod.name, false);
    let netns = Netns::named(&place.netns);
    netns.bind(&cri.netns(id).await?)?;
    let to = SocketAddr::from(service(false)).to_string();
    let mut asks = tokio::process::Command::from(command(&place, "fairway-lab")?);
    let asked = asks.args(["request", "tcp", &to]).output().await?;
    netns.remove()?;
    Cgroup::below_root(&place.cgroup)?.remove()?;
    Ok(String::from_utf8_lossy(&asked.stdout).into_owned())
}
