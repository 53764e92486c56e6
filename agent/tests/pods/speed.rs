//! How long an ADD takes. Prints figures and asserts none:
//! `cargo test -p fairway-agent --test pods -- --ignored --nocapture how_long`.

use std::time::{Duration, Instant};

use crate::world::{Fake, World};
use crate::{add, open};

const PODS: usize = 50;

#[test]
#[ignore = "prints figures"]
fn how_long_adds_take_one_by_one_and_fifty_at_once() {
    let (world, fake, directory) = (World::new(), Fake::new(), tempfile::tempdir().unwrap());
    let names: Vec<String> = (0..2 * PODS).map(|number| number.to_string()).collect();
    names.iter().for_each(|name| drop(world.namespace(name)));
    world.on_node_with_threads(async || {
        let pods = open(directory.path(), &fake, &["10.99.0.0/16", "fd99:1::/64"]).await;
        let timed = async |name: &String| {
            let start = Instant::now();
            pods.add(add(&world, name)).await.unwrap();
            start.elapsed()
        };
        let mut one_by_one = Vec::new();
        for name in &names[..PODS] {
            one_by_one.push(timed(name).await);
        }
        show("one by one", one_by_one);
        let start = Instant::now();
        show("at once", futures::future::join_all(names[PODS..].iter().map(timed)).await);
        println!("all {PODS} at once: {:?}", start.elapsed());
    });
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    println!("{what}: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}
