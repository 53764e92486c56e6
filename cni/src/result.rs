//! The result of an ADD, in the form of each version of CNI.

use fairway_proto::node::AddResponse;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::config::Config;
use crate::error::Error;
use crate::version::Version;

/// Formats what the agent answered: the device on the node's side, then the one in the container.
pub(crate) fn format(
    version: Version,
    config: &Config,
    call: &Call,
    response: &AddResponse,
) -> Result<Value, Error> {
    let mut node = json!({ "name": response.node_interface, "mac": response.node_mac });
    let mut container = json!({ "name": call.interface, "mac": response.pod_mac, "sandbox": call.netns });
    if version >= Version::V1_1_0 {
        node["mtu"] = response.mtu.into();
        container["mtu"] = response.mtu.into();
    }
    let (mut ips, mut routes) = (Vec::new(), Vec::new());
    for (position, text) in response.addresses.iter().enumerate() {
        let address: IpNet = text.parse().map_err(|_| Error::Answer(text.clone()))?;
        let gateway = response.gateways.get(position);
        ips.push(ip(version, address, gateway));
        routes.push(route(address, gateway));
    }
    Ok(json!({
        "cniVersion": version.text(),
        "interfaces": [node, container],
        "ips": ips,
        "routes": routes,
        "dns": config.dns.clone().unwrap_or_else(|| Map::new().into()),
    }))
}

fn ip(version: Version, address: IpNet, gateway: Option<&String>) -> Value {
    let mut ip = json!({ "address": address, "interface": 1 });
    if let Some(gateway) = gateway {
        ip["gateway"] = gateway.clone().into();
    }
    if version < Version::V1_0_0 {
        ip["version"] = if address.addr().is_ipv4() { "4" } else { "6" }.into();
    }
    ip
}

fn route(address: IpNet, gateway: Option<&String>) -> Value {
    let mut route = json!({ "dst": if address.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" } });
    if let Some(gateway) = gateway {
        route["gw"] = gateway.clone().into();
    }
    route
}

#[cfg(test)]
mod tests;
