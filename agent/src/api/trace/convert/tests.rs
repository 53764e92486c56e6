use fairway_datapath::common::family::{v4, v6};
use fairway_datapath::common::{Family, UDP};
use fairway_proto::model::ObjectName;
use imbl::OrdMap;

use super::*;
use crate::pods::PodEntry;
use crate::resolve::ServicePortName;
use crate::sync::SyncState;

/// A SYN of default/client to Service default/web:http that got the backend 10.0.2.9:8080.
pub(in super::super) fn event() -> Event {
    Event {
        time: 5_000,
        source: v4([10, 0, 1, 5].into()).to_wide(),
        destination: v4([10, 96, 0, 10].into()).to_wide(),
        new_source: v4([10, 0, 1, 5].into()).to_wide(),
        new_destination: v4([10, 0, 2, 9].into()).to_wide(),
        source_port: 41822_u16.to_be(),
        destination_port: 80_u16.to_be(),
        new_source_port: 41822_u16.to_be(),
        new_destination_port: 8080_u16.to_be(),
        ifindex: 7,
        length: 60,
        service: 12,
        reason: Reason::ServiceNew as u8,
        hook: Hook::FromPod as u8,
        family: 4,
        protocol: TCP,
        tcp_flags: tcp::SYN,
        pad: [0; 7],
    }
}

pub(in super::super) fn names() -> Directory {
    let name =
        ServicePortName { service: ObjectName::new("default", "web"), port: "http".into(), protocol: TCP };
    let state = SyncState { service_ids: OrdMap::unit(name, 12), ..SyncState::default() };
    let client = PodEntry {
        namespace: "default".into(),
        name: "client".into(),
        container_id: "c".into(),
        netns: "/run/netns/c".into(),
        interface: "eth0".into(),
        node_interface: "fw1a2b".into(),
        ifindex: 7,
        addresses: vec![[10, 0, 1, 5].into()],
        pod_mac: [0; 6],
        node_mac: [0; 6],
        ready: true,
        terminating: false,
    };
    Directory::new(&state, &[client])
}

#[test]
fn an_event_is_told_with_names_and_wall_clock_time() {
    let message = message(&event(), &names(), Clock { offset: 1_000_000 }, 3);
    assert_eq!((message.time, message.lost), (1_005_000, 3));
    assert_eq!((message.hook.as_str(), message.interface.as_str()), ("from-pod", "fw1a2b"));
    assert_eq!((message.source.as_str(), message.source_port), ("10.0.1.5", 41822));
    assert_eq!((message.destination.as_str(), message.destination_port), ("10.96.0.10", 80));
    assert_eq!((message.reason.as_str(), message.class.as_str()), ("service-new", "forward"));
    assert_eq!(
        (message.service.as_str(), message.source_pod.as_str()),
        ("default/web:http", "default/client")
    );
    assert_eq!(message.tcp_flags, "S");
}

#[test]
fn only_what_changed_has_a_new_value() {
    let message = message(&event(), &names(), Clock::default(), 0);
    assert_eq!((message.new_source.as_str(), message.new_source_port), ("", 0));
    assert_eq!((message.new_destination.as_str(), message.new_destination_port), ("10.0.2.9", 8080));
}

#[test]
fn a_call_at_a_socket_has_no_source_and_an_ipv6_address_is_whole() {
    let event = Event {
        source: [0; 4],
        new_source: [0; 4],
        source_port: 0,
        new_source_port: 0,
        destination: v6("fd00::10".parse().unwrap()),
        new_destination: v6("fd00::9".parse().unwrap()),
        family: 6,
        protocol: UDP,
        hook: Hook::Sendmsg as u8,
        ifindex: 0,
        ..event()
    };
    let message = message(&event, &names(), Clock::default(), 0);
    assert_eq!((message.source.as_str(), message.new_source.as_str()), ("", ""));
    assert_eq!((message.destination.as_str(), message.new_destination.as_str()), ("fd00::10", "fd00::9"));
    assert_eq!((message.tcp_flags.as_str(), message.interface.as_str()), ("", ""));
}

#[test]
fn numbers_of_a_newer_kernel_side_are_shown_as_numbers() {
    let message = message(&Event { reason: 250, hook: 99, ..event() }, &names(), Clock::default(), 0);
    assert_eq!((message.reason.as_str(), message.hook.as_str()), ("reason-250", "hook-99"));
}

#[test]
fn tcp_flags_are_letters() {
    assert_eq!([2, 0x12, 0x11, 0x18, 0x14].map(letters), ["S", "SA", "FA", "PA", "RA"]);
}
