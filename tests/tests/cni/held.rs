//! What a node holds for its pods: in the agent's list, among its devices and routes, in the data path.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context;
use fairway_tests::lab::Lab;
use serde_json::Value;

use super::world::run;

/// What there is of all pods of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// The agent's list: container and addresses.
    pub(crate) listed: BTreeSet<(String, IpAddr)>,
    /// Devices on the node's side.
    pub(crate) devices: BTreeSet<String>,
    /// Addresses that have a route.
    pub(crate) routes: BTreeSet<IpAddr>,
    /// Addresses that the data path delivers to.
    pub(crate) entries: BTreeSet<IpAddr>,
}

impl Held {
    /// Looks at a node whose agent runs.
    pub(crate) fn on(lab: &Lab, node: &str) -> anyhow::Result<Self> {
        let mut held = Self::default();
        for pod in json(lab, node, "fairway endpoint list -o json")? {
            let id = pod["containerId"].as_str().context("a pod without id")?;
            held.listed.extend(addresses(&pod).map(|address| (id.to_owned(), address)));
        }
        for entry in json(lab, node, "fairway --from kernel endpoint list -o json")? {
            held.entries.extend(addresses(&entry));
        }
        held.devices = Self::devices(lab, node)?;
        for words in ["ip -j -4 route show", "ip -j -6 route show"] {
            let routes = json(lab, node, words)?.into_iter();
            let routes = routes.filter(|route| route["dev"].as_str().is_some_and(is_pods));
            held.routes.extend(routes.filter_map(|route| route["dst"].as_str()?.parse::<IpAddr>().ok()));
        }
        Ok(held)
    }

    /// Devices of pods, on the node's side.
    pub(crate) fn devices(lab: &Lab, node: &str) -> anyhow::Result<BTreeSet<String>> {
        let all = json(lab, node, "ip -j link show")?;
        let names = all.iter().filter_map(|device| device["ifname"].as_str());
        Ok(names.filter(|name| is_pods(name)).map(String::from).collect())
    }

    /// What stands against `pods`, container and addresses, being all pods of the node; nothing when they are.
    pub(crate) fn differs_from(&self, pods: &BTreeSet<(String, IpAddr)>) -> Vec<String> {
        let addresses: BTreeSet<IpAddr> = pods.iter().map(|(_, address)| *address).collect();
        let containers = pods.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len();
        let mut wrong = Vec::new();
        if self.listed != *pods {
            wrong.push(format!("the agent lists {:?}", self.listed));
        }
        if self.devices.len() != containers {
            wrong.push(format!("{} devices for {containers} pods: {:?}", self.devices.len(), self.devices));
        }
        if self.routes != addresses {
            wrong.push(format!("routes lead to {:?}", self.routes));
        }
        if self.entries != addresses {
            wrong.push(format!("the data path delivers to {:?}", self.entries));
        }
        wrong
    }
}

fn addresses(pod: &Value) -> impl Iterator<Item = IpAddr> {
    let all = pod["addresses"].as_array().into_iter().flatten();
    all.filter_map(|address| address.as_str()?.parse().ok())
}

fn json(lab: &Lab, node: &str, words: &str) -> anyhow::Result<Vec<Value>> {
    let all: Value = serde_json::from_str(&run(lab, node, words)?)?;
    // `fairway` says of what kind the items are.
    let items = all.get("items").unwrap_or(&all).as_array();
    items.cloned().with_context(|| format!("`{words}` prints no list"))
}

fn is_pods(device: &str) -> bool {
    device.starts_with("fw")
}
