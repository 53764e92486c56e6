//! Ports of the node that pods ask for: checked, and told to those who serve them.

use std::net::IpAddr;
use std::sync::Arc;

use fairway_proto::control::Protocol;
use fairway_proto::model::ObjectName;
use fairway_proto::node::PortMapping;
use serde::{Deserialize, Serialize};

use super::Error;
use super::state::{Record, State};
use crate::resolve::{HostPort, HostPorts};

/// A port of the node that leads to a pod, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mapping {
    /// The address that has it; an unspecified one means all of its family, none means all.
    address: Option<IpAddr>,
    port: u16,
    /// IP protocol number.
    protocol: u8,
    pod_port: u16,
}

/// Reads what a request asks for.
pub(super) fn read(mappings: &[PortMapping]) -> Result<Vec<Mapping>, Error> {
    let one = |mapping: &PortMapping| {
        let port = |field, value: u32| match u16::try_from(value) {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(Error::Invalid { field, value: value.to_string() }),
        };
        let address = match mapping.host_ip.as_str() {
            "" => None,
            text => {
                let invalid = |_| Error::Invalid { field: "host_ip", value: text.to_owned() };
                Some(text.parse().map_err(invalid)?)
            }
        };
        let protocol = match mapping.protocol() {
            Protocol::Unspecified => Protocol::Tcp,
            protocol => protocol,
        };
        Ok(Mapping {
            address,
            port: port("host_port", mapping.host_port)?,
            protocol: protocol as u8,
            pod_port: port("container_port", mapping.container_port)?,
        })
    };
    mappings.iter().map(one).collect()
}

impl Mapping {
    /// Whether both have one port of the node at one address, as kube-scheduler counts: a port at every address meets the
    /// same one at any.
    fn meets(&self, other: &Self) -> bool {
        let everywhere = |address: &Option<IpAddr>| address.is_none_or(|it| it.is_unspecified());
        let one_family = match (self.address, other.address) {
            (Some(one), Some(other)) => one.is_ipv4() == other.is_ipv4(),
            _ => true,
        };
        let one_place =
            self.address == other.address || everywhere(&self.address) || everywhere(&other.address);
        (self.port, self.protocol) == (other.port, other.protocol) && one_family && one_place
    }
}

/// Fails if another pod has one of the ports.
pub(super) fn require_free(mappings: &[Mapping], state: &State) -> Result<(), Error> {
    for mapping in mappings {
        let has = |record: &&Record| record.ports.iter().any(|other| mapping.meets(other));
        if let Some(record) = state.pods().iter().find(has) {
            return Err(Error::HostPortTaken {
                port: mapping.port,
                protocol: Protocol::try_from(i32::from(mapping.protocol)).unwrap_or_default().as_str_name(),
                address: mapping.address.map_or_else(|| "every address".to_owned(), |it| it.to_string()),
                pod: name(record).to_string(),
                container_id: record.container_id.clone(),
            });
        }
    }
    Ok(())
}

/// A pod whose name the runtime did not say goes by its container.
pub(super) fn name(record: &Record) -> ObjectName {
    let name = if record.name.is_empty() { &record.container_id } else { &record.name };
    ObjectName::new(&record.namespace, name)
}

/// Brings what is shown up to date; what stays as it is, is not touched. True if that makes a difference.
pub(super) fn refresh(shown: &mut HostPorts, state: &State) -> bool {
    let mut wanted: std::collections::BTreeMap<ObjectName, Vec<HostPort>> = Default::default();
    for record in state.pods().iter().filter(|record| record.complete && !record.ports.is_empty()) {
        let pod_addresses: Arc<[IpAddr]> = record.addresses.iter().copied().collect();
        let ports = record.ports.iter().map(|mapping| HostPort {
            address: mapping.address,
            port: mapping.port,
            protocol: mapping.protocol,
            pod_port: mapping.pod_port,
            pod_addresses: pod_addresses.clone(),
        });
        wanted.entry(name(record)).or_default().extend(ports);
    }
    let gone: Vec<ObjectName> = shown.keys().filter(|pod| !wanted.contains_key(*pod)).cloned().collect();
    let mut changed = !gone.is_empty();
    for pod in gone {
        shown.remove(&pod);
    }
    for (pod, ports) in wanted {
        if shown.get(&pod).is_none_or(|known| **known != *ports) {
            shown.insert(pod, ports.into());
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests;
