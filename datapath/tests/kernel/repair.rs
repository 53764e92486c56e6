//! What somebody removes behind the agent's back is put back; connections that are over go, others stay.

use std::time::{Duration, Instant};

use fairway_datapath::common::{Reason, UDP, limits};
use fairway_datapath::table::{Backend, Op, Tables, backend_flags};
use fairway_datapath::{Datapath, Repair, Timeouts, Tracker, What};

use super::{Network, SERVICES, TARGET, connect, count, datagram, echo, serve};
use crate::world::{self, World};

fn repaired(datapath: &mut Datapath) -> Vec<Repair> {
    let (mut repaired, failed) = datapath.repair();
    assert!(failed.is_empty(), "{failed:?}");
    repaired.sort_by(|a, b| a.subject.cmp(&b.subject));
    repaired
}

fn served() -> (World, Network, Datapath) {
    let world = World::new();
    let network = Network::new();
    let mut datapath = Datapath::open(world.options(false)).unwrap_or_else(|error| world::fail(&error));
    serve(&mut datapath, ["10.244.0.12", "fd00:244::12"]);
    network.put_pods(&mut datapath);
    network.attach(&mut datapath);
    (world, network, datapath)
}

// S102
#[test]
fn a_pin_that_somebody_removed_is_there_again_for_the_same_object() {
    let (world, network, mut datapath) = served();
    assert_eq!(network.node.run(|| repaired(&mut datapath)), []);
    let mut stream = network.client.run(|| connect(SERVICES[0]).unwrap());
    echo(&mut stream);

    let pins = world.options(false).pins;
    let maps = pins.join(format!("v{}", limits::LAYOUT));
    let links = pins.join("links");
    let linked = links.join("from_pod@pod1").exists();
    for map in ["CONNTRACK4", "FRONTENDS4", "EVENTS"] {
        std::fs::remove_file(maps.join(map)).unwrap();
    }
    if linked {
        std::fs::remove_file(links.join("from_pod@pod1")).unwrap();
    }
    let before = network.node.programs_at("pod1");
    let found = network.node.run(|| repaired(&mut datapath));
    let subjects: Vec<(What, &str)> = found.iter().map(|it| (it.what, it.subject.as_str())).collect();
    let mut expected =
        vec![(What::MapPin, "CONNTRACK4"), (What::MapPin, "EVENTS"), (What::MapPin, "FRONTENDS4")];
    if linked {
        expected.push((What::LinkPin, "from_pod at pod1"));
    }
    assert_eq!(subjects, expected);
    assert_eq!(network.node.programs_at("pod1"), before, "nothing was attached anew");
    assert_eq!(network.node.run(|| repaired(&mut datapath)), []);

    // The connection is still known, also to the next agent.
    echo(&mut stream);
    drop(datapath);
    let mut datapath = Datapath::open(world.options(false)).unwrap();
    network.attach(&mut datapath);
    echo(&mut stream);
    assert_eq!(datapath.connections().unwrap().len(), 1);

    // All pins at once.
    std::fs::remove_dir_all(&maps).unwrap();
    assert_eq!(network.node.run(|| repaired(&mut datapath)).len(), 29);
    assert_eq!(datapath.connections().unwrap().len(), 1);
}

// S102
#[test]
fn a_link_that_was_detached_and_a_filter_that_was_deleted_are_attached_again() {
    let (world, network, mut datapath) = served();
    let before = network.node.programs_at("pod1");
    assert_eq!(before.len(), 2);
    network.node.run(|| world::detach(&world.options(false).pins, "pod1"));
    assert_eq!(network.node.programs_at("pod1"), [0_u32; 0]);
    let found = network.node.run(|| repaired(&mut datapath));
    let subjects: Vec<&str> = found.iter().map(|it| it.subject.as_str()).collect();
    assert_eq!(subjects, ["from_pod at pod1", "to_pod at pod1"]);
    assert!(found.iter().all(|it| matches!(it.what, What::Link | What::Filter)), "{found:?}");
    assert_eq!(network.node.programs_at("pod1"), before);
    echo(&mut network.client.run(|| connect(SERVICES[0]).unwrap()));
    assert_eq!(network.node.run(|| repaired(&mut datapath)), []);

    // A device that is gone is no fault.
    network.node.run(|| world::ip("link delete pod1"));
    assert_eq!(network.node.run(|| repaired(&mut datapath)), []);
}

// S102
#[test]
fn a_pods_entry_that_somebody_deleted_is_there_again_and_its_connections_go_on() {
    let (world, network, mut datapath) = served();
    let mut streams = Vec::new();
    for service in SERVICES {
        let mut stream = network.client.run(|| connect(service).unwrap());
        echo(&mut stream);
        streams.push(stream);
    }
    let before = datapath.pods().unwrap();
    world::delete_pods(&world.options(false).pins);
    assert_eq!(datapath.pods().unwrap(), []);
    let found = network.node.run(|| repaired(&mut datapath));
    assert_eq!(found.iter().map(|it| it.what).collect::<Vec<_>>(), [What::Pod; 4], "{found:?}");
    assert_eq!(datapath.pods().unwrap(), before);
    streams.iter_mut().for_each(echo);
    assert_eq!(network.node.run(|| repaired(&mut datapath)), []);
}

#[test]
fn removal_takes_all_programs_and_maps_off_the_node_and_leaves_what_others_pinned() {
    let (world, network, datapath) = served();
    let pins = world.options(false).pins;
    drop(datapath);
    assert_eq!(network.node.programs_at("pod1").len(), 2);
    let foreign = pins.join("others");
    std::fs::create_dir(&foreign).unwrap();
    assert!(Datapath::pinned(&pins).unwrap().len() >= 18);
    Datapath::remove(&pins).unwrap();
    network.node.run(|| Datapath::remove_filters().unwrap());
    // The kernel detaches what has lost its pin a moment later.
    let limit = Instant::now() + Duration::from_secs(5);
    while !network.node.programs_at("pod1").is_empty() {
        assert!(Instant::now() < limit, "programs are still attached");
        std::thread::yield_now();
    }
    assert_eq!(Datapath::pinned(&pins).unwrap(), [] as [std::path::PathBuf; 0]);
    assert!(foreign.exists());
    std::fs::remove_dir(foreign).unwrap();
    Datapath::remove(&pins).unwrap();
    assert!(!pins.exists());
    assert_eq!(network.node.run(|| Datapath::remove_filters().unwrap()), [] as [String; 0]);
}

// S47, S54, S58, S59
#[test]
fn datagrams_for_a_backend_that_is_gone_are_forgotten_and_connections_stay() {
    let (world, network, mut datapath) = served();
    let mut tracker = datapath.tracker().unwrap();
    let mut streams = Vec::new();
    for service in SERVICES {
        network.client.run(|| {
            let mut stream = connect(service).unwrap();
            echo(&mut stream);
            streams.push(stream);
            datagram(service);
        });
    }
    let timeouts = Timeouts::default();
    let collected = tracker.collect(&timeouts).unwrap();
    assert_eq!((collected.silent, collected.stale, tracker.list(&timeouts).unwrap().len()), (0, 0, 4));
    for (id, address) in [(1, "10.244.0.12"), (2, "fd00:244::12")] {
        let backend = Backend {
            address: address.parse().unwrap(),
            port: TARGET,
            flags: backend_flags::LOCAL | backend_flags::GONE,
            service: id,
        };
        datapath.apply(&Op::PutBackend { id, backend }).unwrap();
    }
    let collected = tracker.collect(&timeouts).unwrap();
    assert_eq!((collected.silent, collected.stale), (0, 2));
    let left = tracker.list(&timeouts).unwrap();
    assert!(left.len() == 2 && left.iter().all(|it| it.protocol != UDP), "{left:?}");
    streams.iter_mut().for_each(echo);

    // By hand, with no agent, as the CLI does it.
    let mut alone = Tracker::open(&world.options(false).pins).unwrap();
    let keys = left.iter().map(|it| fairway_datapath::ConnectionKey {
        protocol: it.protocol,
        source: it.source,
        frontend: it.frontend,
    });
    assert_eq!(alone.flush(keys.clone()).unwrap(), 2);
    assert_eq!(alone.flush(keys).unwrap(), 0);
    assert_eq!(datapath.connections().unwrap(), []);
}

// S53
#[test]
fn connections_that_found_the_table_full_are_listed_kept_and_moved_into_it() {
    let (world, network, datapath) = served();
    let mut tracker = datapath.tracker().unwrap();
    let full = world::fill_conntrack(&world.options(false).pins);
    let mut streams = Vec::new();
    network.client.run(|| {
        let mut stream = connect(SERVICES[0]).unwrap();
        echo(&mut stream);
        streams.push(stream);
    });
    assert!(count(&datapath, Reason::ConntrackOverflow) >= 2);
    let timeouts = Timeouts::default();
    // What fills the table is silent: all of it goes, and the connection moves in.
    let collected = tracker.collect(&timeouts).unwrap();
    assert_eq!((collected.overflow, collected.fill), (2, 1.0));
    assert_eq!(collected.silent, full);
    streams.iter_mut().for_each(echo);
    let again = tracker.collect(&timeouts).unwrap();
    assert_eq!((again.silent, again.overflow), (0, 2), "there is room only now");
    assert_eq!(world::overflowed(&world.options(false).pins), 0, "nothing is left beside the table");
    streams.iter_mut().for_each(echo);
    let list = tracker.list(&timeouts).unwrap();
    assert_eq!((list.len(), list[0].state), (1, "established"));
}
