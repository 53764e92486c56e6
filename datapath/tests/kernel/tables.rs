//! What is written to the service table, and read back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_common::limits;
use fairway_datapath::table::{Backend, Frontend, FrontendKey, Image, Op, Run, Tables};
use fairway_datapath::{Datapath, Error};

use crate::world::{self, World};

/// Every third address is an IPv6 one.
fn address(number: u32) -> IpAddr {
    match number % 3 {
        0 => Ipv6Addr::from(0xfd00 << 112 | u128::from(number)).into(),
        _ => Ipv4Addr::from(10 << 24 | number).into(),
    }
}

fn key(number: u32) -> FrontendKey {
    FrontendKey { address: address(number), protocol: 6, port: 80 }
}

fn frontend(number: u32) -> Frontend {
    let run = Run { first: number, count: 1 };
    Frontend { inside: run, outside: run, service: number, ..Frontend::default() }
}

/// A backend, its slot and its frontend, for each number: each goes to another table than the one before.
fn all(numbers: std::ops::Range<u32>) -> Vec<Op> {
    let of = |id: u32| {
        let backend = Backend { address: address(id), port: 8080, flags: 0, service: id };
        let slots = Op::PutSlots { first: id, backends: vec![id] };
        [Op::PutBackend { id, backend }, slots, Op::PutFrontend { key: key(id), value: frontend(id) }]
    };
    numbers.flat_map(of).collect()
}

/// The same with the writes to one table together.
fn by_table(ops: &[Op]) -> Vec<Op> {
    let [mut backends, mut slots, mut frontends] = [const { Vec::new() }; 3];
    for op in ops {
        match op {
            Op::PutBackend { .. } => backends.push(op.clone()),
            Op::PutSlots { .. } => slots.push(op.clone()),
            _ => frontends.push(op.clone()),
        }
    }
    [backends, slots, frontends].concat()
}

#[test]
fn what_is_written_together_is_what_is_written_one_by_one() {
    let image = |write: &dyn Fn(&mut Datapath)| -> Image {
        let world = World::new();
        let mut datapath = Datapath::open(world.options(false)).unwrap_or_else(|error| world::fail(&error));
        write(&mut datapath);
        datapath.image().unwrap()
    };
    let ops = all(1..2_000);
    let alone = image(&|datapath| ops.iter().for_each(|op| datapath.apply(op).unwrap()));
    assert_eq!((alone.frontends.len(), alone.slots.len(), alone.backends.len()), (1_999, 1_999, 1_999));
    assert_eq!(image(&|datapath| datapath.apply_all(&ops).unwrap()), alone);
    assert_eq!(image(&|datapath| datapath.apply_all(&by_table(&ops)).unwrap()), alone);
    // Of two writes of one thing the last counts.
    let twice = [&[Op::PutFrontend { key: key(7), value: frontend(1) }][..], &by_table(&ops)].concat();
    assert_eq!(image(&|datapath| datapath.apply_all(&twice).unwrap()), alone);
}

#[test]
fn a_table_that_is_full_is_named_and_what_was_written_before_stays() {
    let world = World::new();
    let mut datapath = Datapath::open(world.options(false)).unwrap_or_else(|error| world::fail(&error));
    let address = |number: u32| IpAddr::from(Ipv4Addr::from(10 << 24 | number));
    let put = |number| {
        let key = FrontendKey { address: address(number), protocol: 6, port: 80 };
        Op::PutFrontend { key, value: frontend(1) }
    };
    let ops: Vec<Op> = (0..=limits::FRONTENDS).map(put).collect();
    let error = datapath.apply_all(&ops).unwrap_err();
    assert!(matches!(error, Error::Full { map: "FRONTENDS4", capacity: limits::FRONTENDS }), "{error}");
    let frontends = datapath.image().unwrap().frontends;
    assert_eq!(frontends.len(), limits::FRONTENDS as usize);
    datapath.apply(&Op::DeleteFrontend { key: *frontends.keys().next().unwrap() }).unwrap();
    datapath.apply(ops.last().unwrap()).unwrap();
}

#[test]
fn the_version_that_was_begun_is_what_the_next_agent_reads() {
    let world = World::new();
    let open = || Datapath::open(world.options(false)).unwrap_or_else(|error| world::fail(&error));
    let mut datapath = open();
    assert_eq!(datapath.begun().unwrap(), [0, 0]);
    datapath.begin([7, 42]).unwrap();
    drop(datapath);
    assert_eq!(open().begun().unwrap(), [7, 42]);
}
