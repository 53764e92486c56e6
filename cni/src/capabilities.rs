//! What the runtime asks for beyond a device: ports of the node, and limits of bandwidth.
//!
//! Values are read loosely and checked one by one, so that an error names the key and the value, and only at ADD: a
//! configuration that an ADD refuses must not keep the DEL after it from cleaning up.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use fairway_proto::control::Protocol;
use fairway_proto::node::{Bandwidth, PortMapping};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Error;

const PORTS: RangeInclusive<u64> = 1..=65_535;
/// Bits a second. Kubernetes' own limits for its annotations.
const RATES: RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;
/// Bits: the kernel counts bytes in 32 bits.
const BURSTS: RangeInclusive<u64> = 0..=(u32::MAX as u64 * 8 - 1);
/// Bits: what containerd and CRI-O send with Kubernetes' annotations, which have no burst.
const NO_BURST: u64 = u32::MAX as u64;

/// What an ADD asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Capabilities {
    pub(crate) ports: Vec<PortMapping>,
    pub(crate) bandwidth: Option<Bandwidth>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Input {
    #[serde(rename = "runtimeConfig")]
    runtime: Runtime,
    #[serde(flatten)]
    own: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Runtime {
    #[serde(rename = "portMappings")]
    ports: Option<Vec<Map<String, Value>>>,
    bandwidth: Option<Map<String, Value>>,
}

impl Capabilities {
    /// Reads them from a network configuration. As with the bandwidth plugin, limits in the configuration itself win over
    /// those that the runtime adds to it.
    pub(crate) fn read(input: &[u8]) -> Result<Self, Error> {
        let input: Input = serde_json::from_slice(input).map_err(Error::Decode)?;
        refuse_unsupported(&input.own)?;
        let ports: Vec<PortMapping> = input
            .runtime
            .ports
            .iter()
            .flatten()
            .map(|map| port_mapping(&own_case(map)))
            .collect::<Result<_, _>>()?;
        for (position, port) in ports.iter().enumerate() {
            let same = |other: &PortMapping| {
                (other.host_port, other.protocol, &other.host_ip)
                    == (port.host_port, port.protocol, &port.host_ip)
            };
            if ports[..position].iter().any(same) {
                let (key, value) = ("runtimeConfig.portMappings.hostPort", port.host_port.to_string());
                return Err(Error::Value { key, value, rule: "there once for each protocol and `hostIP`" });
            }
        }
        let own = bandwidth(&input.own, ["ingressRate", "ingressBurst", "egressRate", "egressBurst"])?;
        let of_runtime = input.runtime.bandwidth.as_ref().map(own_case).map(|map| {
            let keys = [
                "runtimeConfig.bandwidth.ingressRate",
                "runtimeConfig.bandwidth.ingressBurst",
                "runtimeConfig.bandwidth.egressRate",
                "runtimeConfig.bandwidth.egressBurst",
            ];
            refuse_unsupported(&map).and_then(|()| bandwidth(&map, keys))
        });
        Ok(Self { ports, bandwidth: own.or(of_runtime.transpose()?.flatten()) })
    }
}

/// Keys of the portmap and bandwidth plugins that restrict or change traffic in a way that is not there: to ignore them
/// would leave something open, or other than it was asked for. The other keys of portmap say how it uses iptables.
fn refuse_unsupported(config: &Map<String, Value>) -> Result<(), Error> {
    for (key, hint) in [
        ("conditionsV4", "hostPorts are open to every client"),
        ("conditionsV6", "hostPorts are open to every client"),
        ("masqAll", "set `--masquerade-all` of fairway-agent, which holds for all connections"),
        ("shapedSubnets", "limits hold for all traffic of a pod"),
        ("unshapedSubnets", "limits hold for all traffic of a pod"),
    ] {
        let empty = |value: &&Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(all) => all.is_empty(),
            _ => false,
        };
        if let Some(value) = config.get(key).filter(|value| !empty(value)) {
            return Err(Error::Unsupported { key, value: value.to_string(), hint });
        }
    }
    Ok(())
}

/// Names as the specification writes them. containerd begins them with a capital, which readers in Go do not mind.
fn own_case(map: &Map<String, Value>) -> Map<String, Value> {
    let name = |name: &String| match name.char_indices().nth(1) {
        Some((second, _)) => name[..second].to_ascii_lowercase() + &name[second..],
        None => name.clone(),
    };
    map.iter().map(|(key, value)| (name(key), value.clone())).collect()
}

fn port_mapping(map: &Map<String, Value>) -> Result<PortMapping, Error> {
    let port = |key, name| number(key, map.get(name).unwrap_or(&Value::Null), PORTS, "a port: 1 to 65535");
    Ok(PortMapping {
        host_port: port("runtimeConfig.portMappings.hostPort", "hostPort")?,
        container_port: port("runtimeConfig.portMappings.containerPort", "containerPort")?,
        protocol: protocol(map.get("protocol"))?.into(),
        host_ip: host_ip(map.get("hostIP"))?,
    })
}

fn protocol(value: Option<&Value>) -> Result<Protocol, Error> {
    match value.filter(|value| !value.is_null()) {
        None => Ok(Protocol::Tcp),
        Some(value) => match value.as_str().map(str::to_ascii_lowercase).as_deref() {
            Some("" | "tcp") => Ok(Protocol::Tcp),
            Some("udp") => Ok(Protocol::Udp),
            Some("sctp") => Ok(Protocol::Sctp),
            _ => {
                let key = "runtimeConfig.portMappings.protocol";
                Err(Error::Value { key, value: value.to_string(), rule: "tcp, udp or sctp" })
            }
        },
    }
}

/// An address in the form that all its spellings share; empty: each of the node's.
fn host_ip(value: Option<&Value>) -> Result<String, Error> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(String::new()) };
    match value.as_str() {
        Some("") => Ok(String::new()),
        Some(text) if text.parse::<IpAddr>().is_ok() => {
            Ok(text.parse::<IpAddr>().map(|address| address.to_canonical().to_string()).unwrap_or_default())
        }
        _ => {
            let key = "runtimeConfig.portMappings.hostIP";
            Err(Error::Value { key, value: value.to_string(), rule: "an IP address, or empty" })
        }
    }
}

/// Limits from their keys; `names` is what errors call them. None without any.
fn bandwidth(map: &Map<String, Value>, names: [&'static str; 4]) -> Result<Option<Bandwidth>, Error> {
    let limit = |[rate, burst]: [&str; 2], [rate_name, burst_name]: [&'static str; 2]| {
        let given = |key| map.get(key).filter(|value| !value.is_null() && value.as_u64() != Some(0));
        let rule = "1000 to 1000000000000000 bits a second, or 0";
        let rate = given(rate).map_or(Ok(0), |value| number(rate_name, value, RATES, rule))?;
        let rule = "less than 34359738360 bits, or 0";
        let burst = given(burst).map_or(Ok(0), |value| number(burst_name, value, BURSTS, rule))?;
        if rate == 0 && burst != 0 {
            let rule = "absent without a rate";
            return Err(Error::Value { key: burst_name, value: burst.to_string(), rule });
        }
        Ok((rate, if burst == NO_BURST { 0 } else { burst }))
    };
    let [ingress_rate, ingress_burst, egress_rate, egress_burst] = names;
    let ingress = limit(["ingressRate", "ingressBurst"], [ingress_rate, ingress_burst])?;
    let egress = limit(["egressRate", "egressBurst"], [egress_rate, egress_burst])?;
    let limits = Bandwidth {
        ingress_rate: ingress.0,
        ingress_burst: ingress.1,
        egress_rate: egress.0,
        egress_burst: egress.1,
    };
    Ok((limits != Bandwidth::default()).then_some(limits))
}

fn number<T: TryFrom<u64>>(
    key: &'static str,
    value: &Value,
    range: RangeInclusive<u64>,
    rule: &'static str,
) -> Result<T, Error> {
    let number = value.as_u64().filter(|number| range.contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| Error::Value { key, value: value.to_string(), rule })
}

#[cfg(test)]
mod tests;
