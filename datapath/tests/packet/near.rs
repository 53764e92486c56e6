//! What stands in front of the tables: places of pods and of their devices, the filter of frontends, ways that are learnt.

use std::net::{IpAddr, SocketAddr};

use fairway_common::Reason::{ReplyTranslated, ServiceNew, SpoofedSource, Translated};
use fairway_common::conntrack::tcp;
use fairway_common::pod::place;
use fairway_common::{TCP, family, limits};
use fairway_datapath::Pod;
use fairway_datapath::table::{Frontend, FrontendKey, Op, Tables};

use crate::table::{FROM_NETWORK, FROM_POD, row};
use crate::world::{World, each_family};

/// Addresses that have one place.
fn crowd(v4: bool, size: usize) -> Vec<IpAddr> {
    let address = |n: u32| -> IpAddr {
        if v4 {
            std::net::Ipv4Addr::from(0x0ac8_8000 + n).into()
        } else {
            std::net::Ipv6Addr::from((0xfd00_0010_0200_0001_u128 << 64) + 0x8000 + u128::from(n)).into()
        }
    };
    let place_of = |address: IpAddr| match address {
        IpAddr::V4(address) => place(family::v4(address)),
        IpAddr::V6(address) => place(family::v6(address)),
    };
    let first = place_of(address(0));
    (0..1 << 20).map(address).filter(|address| place_of(*address) == first).take(size).collect()
}

#[test]
fn pods_whose_addresses_share_a_place_are_all_found_until_they_are_deleted() {
    each_family(TCP, |world| {
        let crowd = crowd(world.v4, 3);
        assert_eq!(crowd.len(), 3);
        let check = |world: &mut World, present: [bool; 3], what: &'static str| {
            for (n, (address, present)) in (3..).zip(crowd.iter().zip(present)) {
                let frame = world.frame(world.pod(1, 400), SocketAddr::new(*address, 80));
                let row = row(what, FROM_POD, &frame);
                world.row(if present { row.redirects(frame.hop(World::to_pod(n))) } else { row });
            }
        };
        let put = |world: &mut World, index: usize| {
            let [node_mac, pod_mac] = World::to_pod(3 + index as u8);
            let (address, ifindex) = (crowd[index], world.devices[1]);
            world.datapath.put_pod(&Pod { address, ifindex, pod_mac, node_mac, shaped: false }).unwrap();
        };
        check(world, [false; 3], "nobody is there");
        (0..3).for_each(|index| put(world, index));
        check(world, [true; 3], "all are there");
        world.datapath.delete_pod(crowd[0]).unwrap();
        check(world, [false, true, true], "whose place it is has gone");
        put(world, 0);
        check(world, [true; 3], "it is back");
        world.datapath.delete_pod(crowd[1]).unwrap();
        check(world, [true, false, true], "one without a place has gone");
        world.datapath.delete_pod(crowd[0]).unwrap();
        put(world, 2);
        check(world, [false, false, true], "one without a place is written again");
        world.datapath.delete_pod(crowd[2]).unwrap();
        check(world, [false; 3], "all have gone");
    });
}

// S89
#[test]
fn pods_whose_devices_share_a_place_may_both_speak_and_nobody_in_their_names() {
    each_family(TCP, |world| {
        let (one, two, three) = (world.pod(1, 400), world.pod(2, 80), world.pod(3, 400));
        let (device, other) = (world.devices[1], world.devices[1] + limits::DEVICES);
        let [node_mac, pod_mac] = World::to_pod(3);
        let pod = Pod { address: three.ip(), ifindex: other, pod_mac, node_mac, shaped: false };
        world.datapath.put_pod(&pod).unwrap();
        let frame = world.frame(one, two);
        world.row(row("its own", FROM_POD, &frame).redirects(frame.clone().hop(World::to_pod(2))));
        world.row(row("the other's", FROM_POD, world.frame(three, two)).drops(SpoofedSource));
        world.datapath.delete_pod(three.ip()).unwrap();
        assert_eq!(world.run_at(FROM_POD, device, &frame.build()).0, 7);
        world.row(row("of one that is gone", FROM_POD, world.frame(three, two)).drops(SpoofedSource));
    });
}

// S89
#[test]
fn a_pod_that_has_moved_to_another_device_does_not_send_from_its_old_one() {
    each_family(TCP, |world| {
        let (one, two) = (world.pod(1, 400), world.pod(2, 80));
        let (old, new) = (world.devices[1], world.devices[2]);
        let packet = world.frame(one, two).build();
        assert_eq!(world.run_at(FROM_POD, old, &packet).0, 7);
        let [node_mac, pod_mac] = World::to_pod(1);
        let moved = Pod { address: one.ip(), ifindex: new, pod_mac, node_mac, shaped: false };
        world.datapath.put_pod(&moved).unwrap();
        assert_eq!(world.run_at(FROM_POD, new, &packet).0, 7);
        world.row(row("from the old one", FROM_POD, world.frame(one, two)).drops(SpoofedSource));
    });
}

#[test]
fn a_connection_follows_its_pod_to_another_device_within_a_tick() {
    each_family(TCP, |world| {
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.pod(2, 8080));
        world.put(service, &[backend], &[], 0);
        let first = world.frame(pod, service);
        let hop =
            |frame: &crate::frame::Frame, to| frame.clone().between(pod, backend).hop(World::to_pod(to));
        world.row(row("the first", FROM_POD, &first).redirects(hop(&first, 2)).counts(ServiceNew));
        let next = first.clone().flags(tcp::ACK);
        world.row(row("the way is learnt", FROM_POD, &next).redirects(hop(&next, 2)).counts(Translated));
        world.row(row("and taken", FROM_POD, &next).redirects(hop(&next, 2)).counts(Translated));
        let [node_mac, pod_mac] = World::to_pod(5);
        let moved =
            Pod { address: backend.ip(), ifindex: world.devices[2], pod_mac, node_mac, shaped: false };
        world.datapath.put_pod(&moved).unwrap();
        world.rest(1);
        world.row(row("the new way", FROM_POD, &next).redirects(hop(&next, 5)).counts(Translated));
        let reply = world.frame(backend, pod).flags(tcp::ACK);
        let back = reply.clone().between(service, pod).hop(World::to_pod(1));
        world.row(row("answers", FROM_POD, &reply).redirects(back).counts(ReplyTranslated));
    });
}

#[test]
fn a_connection_outlives_its_frontend_and_thousands_of_others_that_went_after_it() {
    each_family(TCP, |world| {
        let (client, backend) = (world.client(400), world.pod(2, 8080));
        let (gone, stays) = (world.node(30_080), world.node(30_081));
        world.put(gone, &[backend], &[backend], 0);
        let first = world.frame(client, gone);
        assert_eq!(world.run(FROM_NETWORK, &first.build()).0, 7);
        let key = |at: SocketAddr| FrontendKey { address: at.ip(), protocol: TCP, port: at.port() };
        world.datapath.apply(&Op::DeleteFrontend { key: key(gone) }).unwrap();
        for port in 30_100..35_000 {
            let key = key(world.node(port));
            world.datapath.apply(&Op::PutFrontend { key, value: Frontend::default() }).unwrap();
            world.datapath.apply(&Op::DeleteFrontend { key }).unwrap();
        }
        world.put(stays, &[backend], &[backend], 0);
        world.datapath.tidy().unwrap();
        let before = world.counted_of(Translated);
        assert_eq!(world.run(FROM_NETWORK, &first.clone().flags(tcp::ACK).build()).0, 7);
        assert_eq!(world.counted_of(Translated), before + 1);
        let before = world.counted_of(ServiceNew);
        assert_eq!(world.run(FROM_NETWORK, &world.frame(world.client(401), stays).build()).0, 7);
        assert_eq!(world.counted_of(ServiceNew), before + 1);
        world.row(row("nobody's any more", FROM_NETWORK, world.frame(world.client(402), gone)));
    });
}
