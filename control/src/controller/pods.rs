//! The pods that can be endpoints, found by label.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use fairway_proto::model::{Node, ObjectName, Protocol};

use super::Agents;
use crate::source::{Declarations, Family, Pod, Target};

/// A pod that has an address and has not finished.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    pub(crate) declared: &'a Pod,
    pub(crate) node: Option<&'a str>,
    pub(crate) zone: Option<&'a str>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
}

impl Running<'_> {
    /// Its first address of a family.
    pub(crate) fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| Family::of(address) == family)
    }

    /// The number that a Service port's target has in this pod.
    pub(crate) fn port(&self, target: &Target, protocol: Protocol) -> Option<u16> {
        match target {
            Target::Number(number) => Some(*number),
            Target::Name(wanted) => self
                .declared
                .ports
                .iter()
                .find(|(name, of, _)| name == wanted && *of == protocol)
                .map(|(_, _, number)| *number),
        }
    }
}

/// All pods that can be endpoints.
#[derive(Debug)]
pub(crate) struct Pods<'a> {
    running: Vec<Running<'a>>,
    /// Namespace, label and value -> positions in `running`.
    by_label: HashMap<(&'a str, &'a str, &'a str), Vec<usize>>,
}

impl<'a> Pods<'a> {
    /// Joins the manifests with what the agents reported.
    pub(crate) fn new(
        declarations: &'a Declarations,
        agents: &'a Agents,
        nodes: &'a BTreeMap<String, Node>,
    ) -> Self {
        let mut pods = Self { running: Vec::new(), by_label: HashMap::new() };
        for (name, declared) in &declarations.pods {
            let Some(running) = running(name, &declared.value, agents, nodes) else { continue };
            for (label, value) in &declared.value.labels {
                let key = (name.namespace(), label.as_str(), value.as_str());
                pods.by_label.entry(key).or_default().push(pods.running.len());
            }
            pods.running.push(running);
        }
        pods
    }

    /// The pods of a namespace that have all labels, sorted by name. An empty selector selects none.
    pub(crate) fn select<'s>(
        &'s self,
        namespace: &'s str,
        selector: &'s BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'s Running<'a>> + use<'s, 'a> {
        let lists = selector
            .iter()
            .map(|(label, value)| self.by_label.get(&(namespace, label.as_str(), value.as_str())));
        let shortest = lists.min_by_key(|list| list.map_or(0, Vec::len)).flatten();
        shortest.into_iter().flatten().map(|position| &self.running[*position]).filter(move |pod| {
            selector.iter().all(|(label, value)| pod.declared.labels.get(label) == Some(value))
        })
    }
}

fn running<'a>(
    name: &ObjectName,
    pod: &'a Pod,
    agents: &'a Agents,
    nodes: &'a BTreeMap<String, Node>,
) -> Option<Running<'a>> {
    let reported = agents.pod(name, pod.node.as_deref());
    let node = pod.node.as_deref().or(reported.map(|(node, _)| node));
    let object = node.and_then(|node| nodes.get(node));
    let mut running = Running {
        declared: pod,
        node,
        zone: object.and_then(|node| node.zone.as_deref()),
        addresses: pod.addresses.clone(),
        ready: pod.ready,
        terminating: pod.terminating,
    };
    if let Some((_, report)) = reported {
        running.addresses.clone_from(&report.addresses);
        running.ready = report.ready;
        running.terminating |= report.terminating;
    }
    if pod.host_network
        && let Some(node) = object.filter(|node| !node.addresses.is_empty())
    {
        running.addresses.clone_from(&node.addresses);
    }
    (!pod.finished && !running.addresses.is_empty()).then_some(running)
}
