//! Agents that are killed in the middle of a change, and nodes that lose their power.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use fairway_agent::pods::{FAULT, Step};

use crate::world::{Fake, World};
use crate::*;

/// One address: a pod can be added if none is leaked, and not otherwise.
const RANGE: [&str; 1] = ["10.99.1.0/30"];
/// The state directory of the process that is to be killed, and the namespaces of its node and pod.
const CHILD: [&str; 3] = ["FAIRWAY_TEST_STATE", "FAIRWAY_TEST_NODE", "FAIRWAY_TEST_POD"];

/// The data path of a node, which stays when the agent dies.
fn kernel(directory: &Path) -> Arc<Fake> {
    Fake::kept_in(directory.join("fake"))
}

fn request(netns: String) -> AddRequest {
    let container_id = "container-web".into();
    AddRequest { container_id, netns, interface: "eth0".into(), ..AddRequest::default() }
}

#[test]
#[ignore = "the process that other tests start and kill"]
fn a_process_that_is_killed() {
    let [directory, node, pod] = CHILD.map(|name| std::env::var(name).unwrap_or_default());
    if directory.is_empty() {
        return;
    }
    let directory = PathBuf::from(directory);
    world::inside(&node, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pods = open(&directory, &kernel(&directory), &RANGE).await;
            pods.add(request(pod)).await.unwrap();
            pods.delete(delete("web")).await.unwrap();
        });
    });
}

/// Adds and deletes a pod in a process that dies after `step`.
fn die(world: &World, directory: &Path, step: Step) {
    let program = std::env::current_exe().unwrap();
    let values = [directory.display().to_string(), world.path("node"), world.path("web")];
    let died = Command::new(program)
        .args(["--exact", "crash::a_process_that_is_killed", "--ignored"])
        .envs(CHILD.into_iter().zip(values))
        .env(FAULT, format!("{step:?}"))
        .output()
        .unwrap();
    assert_eq!(died.status.signal(), Some(9), "{step:?}: {died:?}");
}

#[test]
fn an_agent_that_is_killed_at_any_step_leaks_no_address_and_leaves_nothing_half_made() {
    // S115, S121
    for step in Step::ALL {
        let (world, directory) = (World::new(), tempfile::tempdir().unwrap());
        for pod in ["web", "other"] {
            world.namespace(pod);
        }
        die(&world, directory.path(), step);
        world.on_node(async || {
            let fake = kernel(directory.path());
            let pods = open(directory.path(), &fake, &RANGE).await;
            // Whole or not at all: a removal that had not come to the devices has not begun.
            let whole = matches!(step, Step::Complete | Step::Unserved | Step::Detached);
            assert_eq!(pods.list().len(), usize::from(whole), "{step:?}");
            assert_eq!(node_devices(&world), usize::from(whole), "{step:?}");
            assert_eq!(world.ip("web", "-o link").contains("eth0"), whole, "{step:?}");
            assert_eq!(world.ip("node", "route").contains("10.99."), whole, "{step:?}");
            assert_eq!(fake.pods.lock().unwrap().len(), usize::from(whole), "{step:?}");
            let interface = pods.list().first().map(|pod| pod.node_interface.clone());
            assert_eq!(fake.attached.lock().unwrap().iter().max().cloned(), interface, "{step:?}");

            // What the runtime does next: the ADD once more, or the DEL.
            if step <= Step::Complete {
                let again = pods.add(request(world.path("web"))).await.unwrap();
                exchange(&world, "web", "node", addresses(&again)[0]);
            }
            pods.delete(delete("web")).await.unwrap();
            assert_eq!(node_devices(&world), 0, "{step:?}");
            pods.add(add(&world, "other")).await.expect("the only address is free again");
        });
    }
}

#[test]
fn after_the_nodes_reboot_all_addresses_are_free_again() {
    // S121
    let directory = tempfile::tempdir().unwrap();
    for boot in 0..3 {
        let (world, fake) = (World::new(), Fake::new());
        for pod in ["web", "other"] {
            world.namespace(&format!("{pod}{boot}"));
        }
        world.on_node(async || {
            let pods = open(directory.path(), &fake, &["10.99.1.0/29"]).await;
            assert!(pods.list().is_empty() && pods.subscribe().borrow().is_empty());
            for pod in ["web", "other"] {
                pods.add(add(&world, &format!("{pod}{boot}"))).await.unwrap();
            }
        });
    }
}
