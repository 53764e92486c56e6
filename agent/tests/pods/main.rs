//! Pods in real network namespaces. The data path is a fake: with it, the kernel's own routing delivers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod addresses;
mod capabilities;
mod crash;
mod deletions;
mod netlink;
mod speed;
mod world;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fairway_agent::netlink::Netlink;
use fairway_agent::pods::{CNI_CODE, Error, Mtu, Options, Pods, service};
use fairway_proto::node::pods_client::PodsClient;
use fairway_proto::node::{
    AddRequest, AddResponse, Attachment, CheckRequest, CollectRequest, DeleteRequest, ReadyRequest,
    SetStatusRequest,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use world::{Fake, World};

async fn open(directory: &Path, fake: &Arc<Fake>, cidrs: &[&str]) -> Pods {
    let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
    let options = Options { state_dir: directory.to_owned(), cidrs, mtu: Mtu { device: 1400, route: None } };
    Pods::open(options, Netlink::connect().unwrap(), fake.clone()).await.unwrap()
}

fn add(world: &World, pod: &str) -> AddRequest {
    AddRequest {
        container_id: format!("container-{pod}"),
        netns: world.path(pod),
        interface: "eth0".into(),
        pod_namespace: "default".into(),
        pod_name: pod.into(),
        ..AddRequest::default()
    }
}

fn delete(pod: &str) -> DeleteRequest {
    DeleteRequest { container_id: format!("container-{pod}"), netns: String::new(), interface: "eth0".into() }
}

fn addresses(response: &AddResponse) -> Vec<IpAddr> {
    response.addresses.iter().map(|cidr| cidr.parse::<ipnet::IpNet>().unwrap().addr()).collect()
}

/// The pod answers each connection with the address that it came from.
fn exchange(world: &World, server: &str, client: &str, address: IpAddr) -> IpAddr {
    let listener = world.inside(server, || TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut connection, from) = listener.accept().unwrap();
            connection.write_all(from.ip().to_string().as_bytes()).unwrap();
        });
        world.inside(client, move || ask(target))
    })
}

fn ask(target: SocketAddr) -> IpAddr {
    let mut connection = TcpStream::connect_timeout(&target, Duration::from_secs(5)).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.parse().unwrap()
}

fn node_devices(world: &World) -> usize {
    world.ip("node", "-o link show type veth").lines().count()
}

#[test]
fn traffic_flows_as_soon_as_a_pod_is_added_and_nothing_is_left_when_it_is_deleted() {
    // S126, S116
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    for pod in ["web", "client"] {
        world.namespace(pod);
    }
    world.inside("node", || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    });
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24", "fd99:1::/64"]).await;
        let web = pods.add(add(&world, "web")).await.unwrap();
        assert_eq!(web.addresses, ["10.99.1.2/32", "fd99:1::2/128"]);
        assert_eq!(web.gateways, ["169.254.1.1", "fe80::1"]);
        assert_eq!(web.mtu, 1400);
        for address in addresses(&web) {
            exchange(&world, "web", "node", address);
            assert_eq!(fake.pods.lock().unwrap()[&address].ifindex, pods.list()[0].ifindex);
        }
        let client = addresses(&pods.add(add(&world, "client")).await.unwrap());
        for (address, from) in addresses(&web).into_iter().zip(client) {
            assert_eq!(exchange(&world, "web", "client", address), from);
        }
        assert_eq!(
            *fake.attached.lock().unwrap(),
            pods.list().iter().rev().map(|it| it.node_interface.clone()).collect::<Vec<_>>()
        );
        let device = world.ip("node", &format!("link show dev {}", web.node_interface));
        assert!(device.contains("alias fairway pod default/web") && device.contains("mtu 1400"), "{device}");

        for pod in ["web", "client", "web", "never-added"] {
            pods.delete(delete(pod)).await.unwrap();
        }
        assert!(pods.list().is_empty() && pods.subscribe().borrow().is_empty());
    });
    assert_eq!(node_devices(&world), 0);
    assert!(!world.ip("node", "route show table all").contains("10.99."));
    assert!(fake.pods.lock().unwrap().is_empty() && fake.attached.lock().unwrap().is_empty());
}

#[test]
fn a_repeated_add_gives_the_same_addresses_and_makes_nothing_new() {
    // S118
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24"]).await;
        let first = pods.add(add(&world, "web")).await.unwrap();
        assert_eq!(pods.add(add(&world, "web")).await.unwrap(), first);
    });
    assert_eq!(node_devices(&world), 1);
}

#[test]
fn a_failed_add_leaves_no_device_and_no_address() {
    // S115
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/30"]).await;
        for call in ["attach_pod", "put_pod"] {
            *fake.refuse.lock().unwrap() = Some(call);
            let error = pods.add(add(&world, "web")).await.unwrap_err();
            assert!(matches!(error, Error::Programs(_)), "{error:?}");
            assert_eq!(node_devices(&world), 0);
            assert!(fake.attached.lock().unwrap().is_empty());
        }
        *fake.refuse.lock().unwrap() = None;
        pods.add(add(&world, "web")).await.expect("the only address is free again");
    });
}

#[test]
fn a_device_that_is_there_already_is_an_error_and_stays_as_it_is() {
    // S116
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.ip("web", "link add eth0 type veth peer name other");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24"]).await;
        let error = pods.add(add(&world, "web")).await.unwrap_err();
        assert_eq!(error.cni_code(), 100, "{error}");
    });
    assert_eq!(node_devices(&world), 0);
    world.ip("web", "link show dev eth0");
}

#[test]
fn a_namespace_that_is_missing_or_the_nodes_own_is_refused() {
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24"]).await;
        for path in [world.path("missing"), world.path("node"), "/proc/self/status".to_owned()] {
            let error = pods.add(AddRequest { netns: path.clone(), ..add(&world, "web") }).await.unwrap_err();
            assert_eq!(error.cni_code(), 8, "{path}: {error}");
        }
    });
}

#[test]
fn without_ranges_or_free_addresses_the_runtime_is_told_to_try_again() {
    // S120
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("a");
    world.namespace("b");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &[]).await;
        assert_eq!(pods.add(add(&world, "a")).await.unwrap_err().cni_code(), 11);
        assert!(matches!(pods.ready().await, Err(Error::NoCidrs)));
        pods.set_cidrs(vec!["10.99.1.0/30".parse().unwrap()]);
        pods.ready().await.unwrap();
        pods.add(add(&world, "a")).await.unwrap();
        assert!(matches!(pods.ready().await, Err(Error::Exhausted { .. })));
        let error = pods.add(add(&world, "b")).await.unwrap_err();
        assert_eq!(error.cni_code(), 11);
        assert!(error.to_string().contains("`10.99.1.0/30`"), "{error}");
        pods.delete(delete("a")).await.unwrap();
        pods.add(add(&world, "b")).await.unwrap();
    });
}

#[test]
fn a_restarted_agent_serves_its_pods_again_and_forgets_those_that_are_gone() {
    // S121
    let (world, directory) = (World::new(), tempfile::tempdir().unwrap());
    world.namespace("stays");
    world.namespace("goes");
    let cidrs = ["10.99.1.0/24", "fd99:1::/64"];
    world.on_node(async || {
        let pods = open(directory.path(), &Fake::new(), &cidrs).await;
        let stays = pods.add(add(&world, "stays")).await.unwrap();
        let goes = pods.add(add(&world, "goes")).await.unwrap();
        let status = SetStatusRequest {
            namespace: "default".into(),
            name: "stays".into(),
            ready: true,
            terminating: false,
        };
        pods.set_status(status).await.unwrap();
        let before = pods.list();
        drop(pods);
        world.ip("node", &format!("link del {}", goes.node_interface));

        let fake = Fake::new();
        let stray = fairway_datapath::Pod {
            address: "10.99.1.77".parse().unwrap(),
            ifindex: 99,
            pod_mac: [0; 6],
            node_mac: [0; 6],
            shaped: false,
        };
        fake.pods.lock().unwrap().insert(stray.address, stray);
        let pods = open(directory.path(), &fake, &cidrs).await;
        assert_eq!(pods.list(), before[1..]);
        assert!(pods.subscribe().borrow()[0].ready);
        assert_eq!(*fake.attached.lock().unwrap(), std::slice::from_ref(&stays.node_interface));
        let known: BTreeSet<IpAddr> = fake.pods.lock().unwrap().keys().copied().collect();
        assert_eq!(known, addresses(&stays).into_iter().collect());
        exchange(&world, "stays", "node", addresses(&stays)[0]);
    });
}

#[test]
fn pods_of_a_lost_state_keep_their_addresses_until_they_are_deleted() {
    let (world, fake) = (World::new(), Fake::new());
    world.namespace("old");
    world.namespace("new");
    world.on_node(async || {
        let (lost, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cidrs = ["10.99.1.0/29"];
        let old = open(lost.path(), &fake, &cidrs).await.add(add(&world, "old")).await.unwrap();
        let pods = open(kept.path(), &fake, &cidrs).await;
        let new = pods.add(add(&world, "new")).await.unwrap();
        assert_ne!(addresses(&new), addresses(&old));
        exchange(&world, "old", "node", addresses(&old)[0]);
        pods.delete(delete("old")).await.unwrap();
    });
    assert_eq!(node_devices(&world), 1);
}

#[test]
fn a_refusal_carries_cnis_code_to_the_plugin() {
    // S111
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &[]).await;
        let socket = directory.path().join("agent.sock");
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(service(pods, tokio::sync::watch::Sender::default().subscribe()));
        tokio::spawn(server.serve_with_incoming(incoming));
        let uri = format!("unix://{}", socket.display());
        let mut client = PodsClient::connect(uri).await.unwrap();
        let status = client.ready(ReadyRequest {}).await.unwrap_err();
        assert_eq!(status.metadata().get(CNI_CODE).unwrap(), "11");
        let status = client.add(AddRequest::default()).await.unwrap_err();
        assert_eq!(status.metadata().get(CNI_CODE).unwrap(), "4");
        assert_eq!(status.message(), "`container_id` is missing in the request");
        client.delete(delete("never-added")).await.unwrap();
    });
}

#[test]
fn a_pod_whose_removal_failed_is_removed_by_the_next_attempt() {
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/30"]).await;
        pods.add(add(&world, "web")).await.unwrap();
        *fake.refuse.lock().unwrap() = Some("detach");
        pods.delete(delete("web")).await.unwrap_err();
        assert_eq!(node_devices(&world), 0, "the removal goes on after an error");
        *fake.refuse.lock().unwrap() = None;
        pods.delete(delete("web")).await.unwrap();
        pods.add(add(&world, "web")).await.expect("the only address is free again");
    });
}

#[test]
fn a_pod_whose_namespace_is_gone_is_deleted_with_success() {
    // S116
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/30"]).await;
        let web = pods.add(add(&world, "web")).await.unwrap();
        world.remove("web");
        pods.delete(DeleteRequest { netns: world.path("web"), ..delete("web") }).await.unwrap();
        assert!(!fake.pods.lock().unwrap().contains_key(&addresses(&web)[0]));
    });
}

#[test]
fn a_check_passes_after_the_add_and_names_what_is_missing_later() {
    // S123
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24", "fd99:1::/64"]).await;
        let web = pods.add(add(&world, "web")).await.unwrap();
        let request = CheckRequest {
            container_id: "container-web".into(),
            netns: world.path("web"),
            interface: "eth0".into(),
            addresses: web.addresses.clone(),
        };
        let check = async || pods.check(request.clone()).await.map_err(|error| error.to_string());
        check().await.unwrap();
        let other = CheckRequest { addresses: vec!["10.99.1.9/32".into()], ..request.clone() };
        assert!(pods.check(other).await.unwrap_err().to_string().contains("`10.99.1.9/32`"));

        fake.attached.lock().unwrap().clear();
        assert!(check().await.unwrap_err().contains("program"));
        fake.attached.lock().unwrap().push(web.node_interface.clone());
        let entry = fake.pods.lock().unwrap().remove(&addresses(&web)[0]).unwrap();
        assert!(check().await.unwrap_err().contains("data path"));
        fake.pods.lock().unwrap().insert(entry.address, entry);
        world.ip("node", "route del 10.99.1.2/32");
        assert!(check().await.unwrap_err().contains("route"));
        world.ip("node", &format!("route add 10.99.1.2/32 dev {} proto 250", web.node_interface));
        check().await.unwrap();
        world.ip("web", "route del default");
        assert!(check().await.unwrap_err().contains("route"));
        world.ip("web", "route add default via 169.254.1.1 dev eth0 onlink");
        world.ip("web", "address del 10.99.1.2/32 dev eth0");
        assert!(check().await.unwrap_err().contains("address"));
        world.ip("node", &format!("link del {}", web.node_interface));
        assert!(check().await.unwrap_err().contains("device"));
        pods.delete(delete("web")).await.unwrap();
        assert!(pods.check(request.clone()).await.is_err());
    });
}

#[test]
fn a_collection_removes_exactly_what_is_not_listed_and_goes_on_after_errors() {
    // S121, S122
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    for pod in ["a", "b", "c"] {
        world.namespace(pod);
    }
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24"]).await;
        for pod in ["a", "b", "c"] {
            pods.add(add(&world, pod)).await.unwrap();
        }
        let valid = vec![Attachment { container_id: "container-b".into(), interface: "eth0".into() }];
        *fake.refuse.lock().unwrap() = Some("detach");
        pods.collect(CollectRequest { valid: valid.clone() }).await.unwrap_err();
        assert_eq!(node_devices(&world), 1);
        *fake.refuse.lock().unwrap() = None;
        pods.collect(CollectRequest { valid }).await.unwrap();
        let left: Vec<String> = pods.list().into_iter().map(|pod| pod.name).collect();
        assert_eq!(left, ["b"]);
        assert_eq!(fake.pods.lock().unwrap().len(), 1);
    });
}

#[test]
fn a_hundred_pods_at_once_get_a_hundred_addresses() {
    // S118
    const PODS: usize = 100;
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    for number in 0..PODS {
        world.namespace(&number.to_string());
    }
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24", "fd99:1::/64"]).await;
        let adds = (0..PODS).map(|number| pods.add(add(&world, &number.to_string())));
        let added = futures::future::try_join_all(adds).await.unwrap();
        let distinct: BTreeSet<IpAddr> = added.iter().flat_map(addresses).collect();
        assert_eq!(distinct.len(), 2 * PODS);
        let numbers: Vec<String> = (0..PODS).map(|number| number.to_string()).collect();
        futures::future::try_join_all(numbers.iter().map(|pod| pods.delete(delete(pod)))).await.unwrap();
    });
    assert_eq!(node_devices(&world), 0);
}
