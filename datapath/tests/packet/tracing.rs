//! The tracing build: the same decisions, written into the ring.

use fairway_common::conntrack::tcp;
use fairway_common::event::Hook;
use fairway_common::{Family, Reason, TCP, V4, V6, family};

use crate::table::{FROM_POD, row};
use crate::world::{NAT_PORTS, World};

#[test]
fn each_decision_is_one_event_with_the_packet_before_and_after() {
    let mut world = World::load(NAT_PORTS, true).unwrap_or_else(|error| panic!("{error}"));
    for v4 in [true, false] {
        world.begin(v4, TCP);
        let (pod, service, backend) = (world.pod(1, 400), world.service(1), world.pod(2, 8080));
        world.put(service, &[backend], &[], 0);
        let there = world.frame(pod, service);
        let plain = world.frame(pod, world.remote(9, 9)).build();
        world.run(FROM_POD, &plain);
        world.row(
            row("first", FROM_POD, &there)
                .redirects(there.clone().between(pod, backend).hop(World::to_pod(2)))
                .counts(Reason::ServiceNew),
        );
        let event = world.events.next_event().expect("an event");
        let wide = |address| match address {
            std::net::IpAddr::V4(address) => V4::to_wide(family::v4(address)),
            std::net::IpAddr::V6(address) => V6::to_wide(family::v6(address)),
        };
        assert_eq!([event.source, event.destination], [pod, service].map(|end| wide(end.ip())));
        assert_eq!([event.new_source, event.new_destination], [pod, backend].map(|end| wide(end.ip())));
        let ports =
            [event.source_port, event.destination_port, event.new_source_port, event.new_destination_port];
        assert_eq!(ports.map(u16::from_be), [400, 80, 400, 8080]);
        assert_eq!((event.reason, event.hook), (Reason::ServiceNew as u8, Hook::FromPod as u8));
        assert_eq!((event.family, event.protocol), (if v4 { 4 } else { 6 }, TCP));
        assert_eq!((event.tcp_flags, event.service, event.ifindex), (tcp::SYN, 7, world.devices[1]));
        assert_eq!(event.length as usize, there.build().len());
        assert!(world.events.next_event().is_none(), "a plain packet is no event");
    }
    assert_eq!(world.datapath.events_lost().unwrap(), 0);
}
