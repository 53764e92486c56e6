//! Pods that ask for ports of the node, and for limits of bandwidth.

use fairway_agent::resolve::HostPorts;
use fairway_proto::control::Protocol;
use fairway_proto::node::{AddRequest, Bandwidth, CheckRequest, PortMapping};

use crate::world::{Fake, World};
use crate::{add, delete, node_devices, open};

fn with_port(request: AddRequest, port: u32, protocol: Protocol, host_ip: &str) -> AddRequest {
    let mapping = PortMapping {
        host_port: port,
        container_port: 80,
        protocol: protocol.into(),
        host_ip: host_ip.to_owned(),
    };
    AddRequest { port_mappings: vec![mapping], ..request }
}

/// `pod port/protocol -> addresses`.
fn lines(ports: &HostPorts) -> Vec<String> {
    let line = |pod: &dyn std::fmt::Display, port: &fairway_agent::resolve::HostPort| {
        format!("{pod} {}/{} -> {:?}", port.port, port.protocol, port.pod_addresses)
    };
    ports.iter().flat_map(|(pod, ports)| ports.iter().map(move |port| line(pod, port))).collect()
}

// S80, S115
#[test]
fn an_add_for_a_port_that_another_pod_has_names_it_and_leaves_nothing() {
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    ["web", "next", "other"].into_iter().for_each(|pod| drop(world.namespace(pod)));
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24"]).await;
        pods.add(with_port(add(&world, "web"), 8080, Protocol::Tcp, "")).await.unwrap();
        pods.add(with_port(add(&world, "other"), 8080, Protocol::Udp, "192.0.2.1")).await.unwrap();
        let asked = with_port(add(&world, "next"), 8080, Protocol::Tcp, "192.0.2.1");
        let error = pods.add(asked.clone()).await.unwrap_err();
        assert_eq!(error.cni_code(), 105);
        assert!(error.to_string().contains("pod `default/web` (container `container-web`)"), "{error}");
        assert_eq!((node_devices(&world), fake.pods.lock().unwrap().len(), pods.list().len()), (2, 2, 2));
        // The pod itself may ask again.
        pods.add(with_port(add(&world, "web"), 8080, Protocol::Tcp, "")).await.unwrap();
        pods.delete(delete("web")).await.unwrap();
        pods.add(asked).await.unwrap();
        let shown = lines(&pods.host_ports().borrow());
        assert_eq!(shown, ["default/next 8080/6 -> [10.99.1.4]", "default/other 8080/17 -> [10.99.1.3]"]);
    });
}

// S80, S103
#[test]
fn a_restarted_agent_knows_its_pods_ports_and_who_has_them() {
    let (world, directory) = (World::new(), tempfile::tempdir().unwrap());
    ["web", "next"].into_iter().for_each(|pod| drop(world.namespace(pod)));
    world.on_node(async || {
        let pods = open(directory.path(), &Fake::new(), &["10.99.1.0/24"]).await;
        pods.add(with_port(add(&world, "web"), 8080, Protocol::Tcp, "")).await.unwrap();
        let before = lines(&pods.host_ports().borrow());
        drop(pods);
        let pods = open(directory.path(), &Fake::new(), &["10.99.1.0/24"]).await;
        assert_eq!(lines(&pods.host_ports().borrow()), before);
        let error = pods.add(with_port(add(&world, "next"), 8080, Protocol::Tcp, "")).await.unwrap_err();
        assert_eq!(error.cni_code(), 105);
        pods.delete(delete("web")).await.unwrap();
        assert!(pods.host_ports().borrow().is_empty());
    });
}

fn qdisc(world: &World, name: &str, arguments: &str) -> String {
    let command = format!("qdisc {arguments}");
    let run = || std::process::Command::new("tc").args(command.split(' ')).output().unwrap();
    let output = world.inside(name, run);
    assert!(output.status.success(), "tc {command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

// S123
#[test]
fn limits_stand_at_both_ends_and_a_check_misses_them() {
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.namespace("free");
    let bandwidth = Bandwidth {
        ingress_rate: 20_000_000,
        egress_rate: 40_000_000_000,
        egress_burst: 8_000_000,
        ..Bandwidth::default()
    };
    let check = || CheckRequest {
        container_id: "container-web".into(),
        interface: "eth0".into(),
        netns: world.path("web"),
        addresses: vec![],
    };
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24", "fd99:1::/64"]).await;
        let asked = AddRequest { bandwidth: Some(bandwidth), ..add(&world, "web") };
        let device = pods.add(asked).await.unwrap().node_interface;
        let free = pods.add(add(&world, "free")).await.unwrap().node_interface;
        let shown = qdisc(&world, "node", &format!("show dev {device}"));
        assert!(shown.contains("tbf") && shown.contains("rate 20Mbit burst 64Kb"), "{shown}");
        assert!(!qdisc(&world, "node", &format!("show dev {free}")).contains("tbf"));
        let shown = qdisc(&world, "web", "show dev eth0");
        assert!(shown.contains("tbf") && shown.contains("rate 40Gbit"), "{shown}");
        let shaped: Vec<bool> = fake.pods.lock().unwrap().values().map(|pod| pod.shaped).collect();
        assert_eq!(shaped, [true, false, true, false]);
        pods.check(check()).await.unwrap();

        for (place, name) in [("node", device.as_str()), ("web", "eth0")] {
            qdisc(&world, place, &format!("del dev {name} root"));
            let error = pods.check(check()).await.unwrap_err();
            assert!(error.cni_code() == 104 && error.to_string().contains(name), "{error}");
            let rate = if place == "node" { "20mbit" } else { "40gbit" };
            qdisc(&world, place, &format!("add dev {name} root tbf rate {rate} burst 1000000 latency 25ms"));
            pods.check(check()).await.unwrap();
        }
        // What the node's side lost meanwhile is there again with the next agent.
        drop(pods);
        qdisc(&world, "node", &format!("del dev {device} root"));
        let pods = open(directory.path(), &fake, &["10.99.1.0/24", "fd99:1::/64"]).await;
        pods.check(check()).await.unwrap();
    });
}
