//! Lines of the listings that come from the kernel's tables and from this node's pods.

use std::net::IpAddr;
use std::time::Duration;

use fairway_datapath::Connection;
use fairway_datapath::common::Reason;
use fairway_datapath::common::reason::Count;
use fairway_proto::node;

use super::directory::Directory;
use crate::pods::PodEntry;

/// A translated connection.
pub(super) fn connection(connection: &Connection, names: &Directory) -> node::Connection {
    let split = |(address, port): (IpAddr, u16)| (address.to_string(), u32::from(port));
    let (source, source_port) = split(connection.source);
    let (frontend, frontend_port) = split(connection.frontend);
    let (backend, backend_port) = split(connection.backend);
    let (nat_source, nat_source_port) = if connection.nat_source == connection.source {
        Default::default()
    } else {
        split(connection.nat_source)
    };
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    node::Connection {
        protocol: connection.protocol.into(),
        source,
        source_port,
        frontend,
        frontend_port,
        backend,
        backend_port,
        nat_source,
        nat_source_port,
        state: connection.state.to_owned(),
        idle_seconds: seconds(connection.idle),
        expires_seconds: seconds(connection.expires),
        service: names.service(connection.service).unwrap_or_default().to_owned(),
        source_pod: names.pod(connection.source.0).unwrap_or_default().to_owned(),
        backend_pod: names.pod(connection.backend.0).unwrap_or_default().to_owned(),
    }
}

/// A pod of this node.
pub(super) fn endpoint(pod: &PodEntry) -> node::PodEndpoint {
    let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
    node::PodEndpoint {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        container_id: pod.container_id.clone(),
        interface: pod.node_interface.clone(),
        ifindex: pod.ifindex,
        addresses: pod.addresses.iter().map(ToString::to_string).collect(),
        pod_mac: mac(pod.pod_mac),
        node_mac: mac(pod.node_mac),
        ready: pod.ready,
        terminating: pod.terminating,
    }
}

/// Reasons that were met, by number.
pub(super) fn reasons(counts: &[(Reason, Count)]) -> Vec<node::ReasonCount> {
    let mut met: Vec<&(Reason, Count)> = counts.iter().filter(|(_, count)| count.packets > 0).collect();
    met.sort_by_key(|(reason, _)| *reason);
    let row = |(reason, count): &(Reason, Count)| node::ReasonCount {
        number: *reason as u32,
        name: reason.name().to_owned(),
        class: reason.class().name().to_owned(),
        packets: count.packets,
        bytes: count.bytes,
        text: reason.text().to_owned(),
        hint: reason.hint().to_owned(),
    };
    met.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_was_not_translated_is_left_out() {
        let mut found = Connection {
            protocol: 6,
            source: ([10, 0, 0, 1].into(), 4000),
            frontend: ([10, 96, 0, 1].into(), 80),
            backend: ([10, 0, 0, 2].into(), 8080),
            nat_source: ([10, 0, 0, 1].into(), 4000),
            state: "established",
            idle: Duration::from_millis(2900),
            expires: Duration::from_secs(100),
            service: 1,
        };
        let row = connection(&found, &Directory::default());
        assert_eq!((row.nat_source.as_str(), row.nat_source_port, row.idle_seconds), ("", 0, 2));
        found.nat_source = ([192, 168, 0, 1].into(), 1024);
        let row = connection(&found, &Directory::default());
        assert_eq!((row.nat_source.as_str(), row.nat_source_port), ("192.168.0.1", 1024));
    }

    #[test]
    fn only_reasons_that_were_met_are_listed_by_number() {
        let count = |packets| Count { packets, bytes: 0 };
        let rows = reasons(&[
            (Reason::NoBackend, count(2)),
            (Reason::Malformed, count(0)),
            (Reason::Delivered, count(5)),
        ]);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["delivered", "no-backend"]);
        assert_eq!(rows[1].class, "reject");
    }
}
