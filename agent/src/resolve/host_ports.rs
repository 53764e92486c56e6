//! Ports of this node that lead to its pods (hostPort): frontends of one backend, as if each pod had a Service.

use std::net::IpAddr;
use std::sync::Arc;

use fairway_proto::model::ObjectName;
use imbl::OrdMap;

use super::frontends::Part;
use super::{
    BackendRef, DesiredFrontend, Frontend, FrontendKey, FrontendKind, LOOPBACK, LocalNode, Problem,
    ServicePortName, backend_flags,
};

const SCTP: u8 = 132;

/// A port of this node that leads to one of its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The address that has it; an unspecified one means all of its family, none means all.
    pub address: Option<IpAddr>,
    /// The node's port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// The pod's port.
    pub pod_port: u16,
    /// The pod's addresses, at most one of each family.
    pub pod_addresses: Arc<[IpAddr]>,
}

/// The ports of this node that lead to its pods, by pod.
pub type HostPorts = OrdMap<ObjectName, Arc<[HostPort]>>;

/// What a pod asks for: a function of its ports and of the node.
pub(super) fn expand(pod: &ObjectName, ports: &[HostPort], node: &LocalNode) -> Part {
    let mut part = Part::default();
    // The first who asks for a key gets it: of one pod's ports the one that names the address.
    let (named, all): (Vec<_>, Vec<_>) =
        ports.iter().partition(|port| port.address.is_some_and(|address| !address.is_unspecified()));
    for port in named.into_iter().chain(all) {
        // No port of a Service has a capital in its name: the two are never taken for each other.
        let name = format!("hostPort-{}", port.port);
        let name = ServicePortName { service: pod.clone(), port: name.into(), protocol: port.protocol };
        if port.protocol == SCTP {
            part.problems.push(Problem::HostPortSctp { pod: pod.clone(), port: port.port });
            continue;
        }
        let places = places(port, node);
        if let Some(address) = port.address.filter(|_| places.is_empty()) {
            part.problems.push(Problem::HostIp { pod: pod.clone(), port: port.port, address });
            continue;
        }
        serve(&mut part, &name, port, &places);
    }
    part
}

/// The addresses that have the port. Only such as are the node's own: a pod must not take over the address of anybody else.
fn places(port: &HostPort, node: &LocalNode) -> Vec<IpAddr> {
    let wanted = |address: &IpAddr| match port.address {
        None => true,
        Some(all) if all.is_unspecified() => all.is_ipv4() == address.is_ipv4(),
        Some(one) => one == *address,
    };
    node.addresses.iter().copied().chain([LOOPBACK]).filter(wanted).collect()
}

fn serve(part: &mut Part, name: &ServicePortName, port: &HostPort, places: &[IpAddr]) {
    let nobody: Arc<[BackendRef]> = Arc::new([]);
    for &address in port.pod_addresses.iter() {
        let backend = BackendRef { address, port: port.pod_port, flags: backend_flags::LOCAL };
        let set: Arc<[BackendRef]> = Arc::new([backend]);
        for &place in places.iter().filter(|place| place.is_ipv4() == address.is_ipv4()) {
            let loopback = place == LOOPBACK;
            let frontend = DesiredFrontend {
                name: name.clone(),
                kind: FrontendKind::HostPort,
                inside: set.clone(),
                outside: if loopback { nobody.clone() } else { set.clone() },
                flags: if loopback { Frontend::INSIDE_ONLY } else { 0 },
                affinity: 0,
                total_endpoints: 1,
            };
            let key = FrontendKey { address: place, protocol: port.protocol, port: port.port };
            part.claims.push((key, Arc::new(frontend)));
        }
        match part.serving.iter_mut().find(|(other, _)| other == name) {
            Some((_, serving)) if serving.contains(&backend) => {}
            Some((_, serving)) => {
                let mut all: Vec<BackendRef> = serving.iter().copied().chain([backend]).collect();
                all.sort_unstable();
                *serving = all.into();
            }
            None => part.serving.push((name.clone(), set)),
        }
    }
}
