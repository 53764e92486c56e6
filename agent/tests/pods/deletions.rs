//! Deletions that the plugin left on disk.

use std::path::Path;

use fairway_agent::pods::DELETIONS;
use fairway_proto::deletions::Deletions;

use crate::world::{Fake, World};
use crate::*;

fn leave(directory: &Path, pod: &str) -> Deletions {
    let deletions = Deletions::new(directory.join(DELETIONS));
    let DeleteRequest { container_id, interface, .. } = delete(pod);
    deletions.put(&Attachment { container_id, interface }).unwrap();
    deletions
}

#[test]
fn a_deletion_that_was_left_while_no_agent_ran_is_carried_out_at_the_start_of_one() {
    // S117
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.on_node(async || {
        open(directory.path(), &fake, &["10.99.1.0/24"]).await.add(add(&world, "web")).await.unwrap();
        let left = leave(directory.path(), "web");
        leave(directory.path(), "never-added");
        let pods = open(directory.path(), &fake, &["10.99.1.0/24"]).await;
        assert!(pods.list().is_empty() && left.list().unwrap().is_empty());
    });
    assert_eq!(node_devices(&world), 0);
    assert!(fake.pods.lock().unwrap().is_empty() && fake.attached.lock().unwrap().is_empty());
}

#[test]
fn a_deletion_that_was_left_too_late_for_the_start_is_carried_out_before_the_next_pod_is_added() {
    // S117
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.namespace("next");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/30"]).await;
        let web = pods.add(add(&world, "web")).await.unwrap();
        let left = leave(directory.path(), "web");
        let next = pods.add(add(&world, "next")).await.expect("the only address is free again");
        assert_eq!(next.addresses, web.addresses);
        leave(directory.path(), "next");
        pods.ready().await.expect("free again before the runtime asks for it");
        assert!(left.list().unwrap().is_empty());
    });
    assert_eq!(node_devices(&world), 0);
}

#[test]
fn a_pod_that_is_added_again_after_a_deletion_was_left_stays() {
    // S117
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    for pod in ["web", "next"] {
        world.namespace(pod);
    }
    world.on_node(async || {
        let cidrs = ["10.99.1.0/24"];
        let pods = open(directory.path(), &fake, &cidrs).await;
        let first = pods.add(add(&world, "web")).await.unwrap();
        leave(directory.path(), "web");
        let second = pods.add(add(&world, "web")).await.unwrap();
        assert_ne!(first.addresses, second.addresses, "it was deleted in between");
        pods.add(add(&world, "next")).await.unwrap();
        drop(pods);
        let pods = open(directory.path(), &fake, &cidrs).await;
        assert_eq!(pods.list().len(), 2);
        assert_eq!(pods.add(add(&world, "web")).await.unwrap(), second);
    });
}

#[test]
fn a_pod_is_not_added_as_long_as_its_deletion_cannot_be_carried_out() {
    // S117
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    world.namespace("web");
    world.on_node(async || {
        let pods = open(directory.path(), &fake, &["10.99.1.0/24"]).await;
        pods.add(add(&world, "web")).await.unwrap();
        let left = leave(directory.path(), "web");
        *fake.refuse.lock().unwrap() = Some("detach");
        pods.add(add(&world, "web")).await.unwrap_err();
        assert_eq!(left.list().unwrap().len(), 1);
        *fake.refuse.lock().unwrap() = None;
        pods.add(add(&world, "web")).await.unwrap();
        assert!(left.list().unwrap().is_empty());
    });
}
