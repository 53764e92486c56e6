//! Other plugins behind Fairway's: Debian's portmap, bandwidth and tuning.

use anyhow::ensure;
use fairway_tests::runtime::{CHAINED, FAILING, Pod, Port};
use fairway_tests::traffic::{Kind, Query, Runner};
use fairway_tests::trial::Trial;
use futures::FutureExt;

use super::held::Held;
use super::own::{OwnPod, wanted};
use super::world::{NODES, World, service};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S124
    ("the_plugins_behind_it_find_the_pod_and_leave_nothing", |world| chain(world).boxed()),
    // S115, S124
    ("a_plugin_behind_it_that_fails_costs_no_address", |world| fails(world).boxed()),
];

const PORT: u16 = 8088;

fn pod(world: &World, name: &str) -> Pod {
    let annotation = |way: &str| (format!("kubernetes.io/{way}-bandwidth"), "50M".to_owned());
    Pod {
        handler: CHAINED,
        ports: vec![Port { node: PORT, pod: 8080, ..Port::default() }],
        annotations: vec![annotation("ingress"), annotation("egress")],
        ..wanted(world, NODES[0], name)
    }
}

async fn chain(world: &World) -> anyhow::Result<()> {
    let before = Held::on(&world.lab, NODES[0])?;
    let pod = OwnPod::start_as(world.cri(NODES[0]).await?, &pod(world, "chained")).await?;
    for v6 in [false, true] {
        let name = pod.name("tcp", service(v6)).await;
        ensure!(name.starts_with("web-"), "the Service, IPv6 {v6}: {name}");
    }
    // tuning
    let filter = pod.run("cat /proc/sys/net/ipv4/conf/eth0/arp_filter").await?;
    ensure!(filter == "1", "arp_filter is {filter}");
    // bandwidth
    let queues = world.run(NODES[0], "tc qdisc show")?;
    ensure!(queues.lines().filter(|line| line.contains("qdisc tbf")).count() == 2, "{queues}");
    // portmap
    let outside = Runner::start(&world.lab.place("client")?)?;
    for address in world.lab.state.plan.node(1) {
        let outcome = outside.ask(Query::new(Kind::Tcp, (address.addr(), PORT).into())).await?;
        ensure!(outcome.name() == Some("chained"), "port {PORT} at {address}: {outcome:?}");
    }
    pod.end().await?;
    let after = Held::on(&world.lab, NODES[0])?;
    ensure!(after == before, "{after:?}, before {before:?}");
    let queues = world.run(NODES[0], "tc qdisc show")?;
    ensure!(!queues.contains("qdisc tbf"), "{queues}");
    Ok(())
}

async fn fails(world: &World) -> anyhow::Result<()> {
    let before = Held::on(&world.lab, NODES[0])?;
    let pod = Pod { handler: FAILING, ..wanted(world, NODES[0], "fails") };
    let made = OwnPod::start_as(world.cri(NODES[0]).await?, &pod).await;
    let Err(error) = made else { anyhow::bail!("the plugin that cannot do it did it") };
    ensure!(format!("{error:#}").contains("tuning"), "{error:#}");
    let after = Held::on(&world.lab, NODES[0])?;
    ensure!(after == before, "after {error:#}: {after:?}, before {before:?}");
    Ok(())
}
