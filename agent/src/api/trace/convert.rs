//! An event of the kernel's in people's words.

use std::net::IpAddr;

use fairway_datapath::common::conntrack::tcp;
use fairway_datapath::common::event::{Event, Hook};
use fairway_datapath::common::family::{to_ipv4, to_ipv6};
use fairway_datapath::common::reason::Reason;
use fairway_datapath::common::{TCP, V6};
use fairway_proto::node::TraceEvent;
use nix::time::{ClockId, clock_gettime};

use super::super::directory::Directory;

/// How far the wall clock is ahead of the monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    offset: i128,
}

impl Clock {
    /// As it is now. It changes when the wall clock is set.
    pub(super) fn now() -> Self {
        let read = |clock| {
            clock_gettime(clock)
                .map(|time| i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
        };
        let offset = read(ClockId::CLOCK_REALTIME).ok().zip(read(ClockId::CLOCK_MONOTONIC).ok());
        Self { offset: offset.map_or(0, |(wall, monotonic)| wall - monotonic) }
    }

    /// The wall clock's time at a monotonic time, both in nanoseconds.
    fn wall(self, monotonic: u64) -> u64 {
        u64::try_from(i128::from(monotonic) + self.offset).unwrap_or_default()
    }
}

/// Who talked to whom, before and after the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) source: (IpAddr, u16),
    pub(super) destination: (IpAddr, u16),
    pub(super) new_source: (IpAddr, u16),
    pub(super) new_destination: (IpAddr, u16),
}

impl Ends {
    /// All four.
    pub(super) fn all(&self) -> [(IpAddr, u16); 4] {
        [self.source, self.destination, self.new_source, self.new_destination]
    }
}

/// The addresses and ports of an event.
pub(super) fn ends(event: &Event) -> Ends {
    let address = |words: V6| match event.family {
        6 => IpAddr::V6(to_ipv6(words)),
        _ => IpAddr::V4(to_ipv4([words[0]])),
    };
    let end = |words, port| (address(words), u16::from_be(port));
    Ends {
        source: end(event.source, event.source_port),
        destination: end(event.destination, event.destination_port),
        new_source: end(event.new_source, event.new_source_port),
        new_destination: end(event.new_destination, event.new_destination_port),
    }
}

/// An event as callers see it. What did not change, or is not known, is empty.
pub(super) fn message(event: &Event, names: &Directory, clock: Clock, lost: u64) -> TraceEvent {
    let ends = ends(event);
    let hook = Hook::ALL.get(usize::from(event.hook));
    let reason = Reason::from_number(event.reason);
    let (source, source_port) = shown(ends.source);
    let (destination, destination_port) = shown(ends.destination);
    let (new_source, new_source_port) = changed(ends.source, ends.new_source);
    let (new_destination, new_destination_port) = changed(ends.destination, ends.new_destination);
    TraceEvent {
        time: clock.wall(event.time),
        hook: hook.map_or_else(|| format!("hook-{}", event.hook), |hook| hook.name().to_owned()),
        interface: names.device(event.ifindex).unwrap_or_default().to_owned(),
        protocol: event.protocol.into(),
        source,
        source_port,
        destination,
        destination_port,
        new_source,
        new_source_port,
        new_destination,
        new_destination_port,
        reason: reason.map_or_else(|| format!("reason-{}", event.reason), |reason| reason.name().to_owned()),
        class: reason.map_or("drop", |reason| reason.class().name()).to_owned(),
        hint: reason.map(Reason::hint).unwrap_or_default().to_owned(),
        service: names.service(event.service).unwrap_or_default().to_owned(),
        source_pod: pod(names, ends.source, ends.new_source),
        destination_pod: pod(names, ends.new_destination, ends.destination),
        length: event.length,
        tcp_flags: if event.protocol == TCP { letters(event.tcp_flags) } else { String::new() },
        lost,
    }
}

fn is_set(end: (IpAddr, u16)) -> bool {
    !end.0.is_unspecified() || end.1 != 0
}

fn shown(end: (IpAddr, u16)) -> (String, u32) {
    if is_set(end) { (end.0.to_string(), end.1.into()) } else { (String::new(), 0) }
}

fn changed(before: (IpAddr, u16), after: (IpAddr, u16)) -> (String, u32) {
    if before == after { (String::new(), 0) } else { shown(after) }
}

/// The pod at an end: as it is known by the nearer address, else by the other.
fn pod(names: &Directory, near: (IpAddr, u16), far: (IpAddr, u16)) -> String {
    names.pod(near.0).or_else(|| names.pod(far.0)).unwrap_or_default().to_owned()
}

/// TCP flags as letters.
fn letters(flags: u8) -> String {
    const PSH: u8 = 1 << 3;
    const URG: u8 = 1 << 5;
    let all = [(tcp::SYN, 'S'), (tcp::FIN, 'F'), (tcp::RST, 'R'), (PSH, 'P'), (URG, 'U'), (tcp::ACK, 'A')];
    all.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
pub(super) mod tests;
